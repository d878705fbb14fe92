"""Web pages: main text, title, author, date, licence, rights and language of an HTML page."""

from __future__ import annotations

import codecs
import re
from typing import Any

from lamina.data.readers.markup import text_of
from lamina.data.readers.streams import MAX_REPLACED
from lamina.kit.errors import DocumentError

MAX_BYTES = 20 << 20  # of a decoded page
_MAGIC = {
    b"%PDF-": "a PDF file",
    b"PK\x03\x04": "a zip file",
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x89PNG": "a picture",
    b"GIF8": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"OggS": "sound or video",
    b"ID3": "sound",
}
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
#: The encodings of the web (WHATWG Encoding Standard §4.2) less UTF-7, HZ and ISO-2022, in which markup can hide.
_ENCODING_NAMES = (
    "utf-8 utf-16 utf-16-le utf-16-be iso8859-1 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8"
    " iso8859-10 iso8859-13 iso8859-14 iso8859-15 iso8859-16 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257"
    " cp1258 cp874 cp866 koi8-r koi8-u mac-roman gbk gb18030 gb2312 big5 euc_jp shift_jis cp932 euc_kr cp949"
)
_ENCODINGS = frozenset(_ENCODING_NAMES.split())
_DEED = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)/(\d\.\d)", re.IGNORECASE)
_NAME = re.compile(r"CC[ -](BY(?:-(?:NC|SA|ND)){0,2})[ -](\d\.\d)", re.IGNORECASE)
#: Where pages say when they were published; a search of their text for dates finds others' dates.
_PUBLISHED = (
    *("meta[property='article:published_time']", "meta[itemprop='datePublished']", "meta[name='date']"),
    *("meta[name='dcterms.created']", "meta[name='dcterms.date']", "meta[name='DC.date']", "meta[name='pubdate']"),
    *("meta[name='citation_publication_date']", "meta[name='parsely-pub-date']", "meta[name='publish-date']"),
    *("time[itemprop='datePublished'][datetime]", "time[pubdate][datetime]", "article header time[datetime]"),
)
_LINKED_DATA = re.compile(r'"datePublished"\s*:\s*"([^"<>]{4,40})"')
_QUICK = {"extensive_search": False}  # the date that trafilatura finds is not used
_TAGS = {"head": "h2", "list": "ul", "item": "li", "lb": "br", "row": "tr", "cell": "td", "quote": "blockquote"}
_SIGNALS = ("robots", "tdm-reservation", "tdm-policy", "googlebot")


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"text", "title", "author", "created", "language", "license", "rights", "url", "replaced"}`` of a page.

    ``payload``: ``{"url", "charset", "plain"}``, all optional; ``url`` of the answer is what the page calls itself.
    Raises ``DocumentError`` for what is no page, or has no main text.
    """
    page = data or b""
    sniff(page)
    text, replaced = to_text(page, payload.get("charset"))
    if payload.get("plain"):
        return {"text": text.strip(), "title": None, "replaced": replaced}
    import trafilatura

    head = _head(text)
    found = trafilatura.bare_extraction(
        text, url=payload.get("url"), with_metadata=True, include_comments=False, date_extraction_params=_QUICK
    )
    about: dict[str, Any] = {} if found is None or isinstance(found, dict) else found.as_dict()
    body = ("" if about.get("body") is None else _rendered(about["body"])) or _fallback(text)
    if not body.strip():
        raise DocumentError("has no main text")
    return {
        "text": body.strip(),
        "title": about.get("title"),
        "author": about.get("author"),
        "created": head["created"],
        "language": head["language"] or about.get("language"),
        "license": head["license"] or _spdx(about.get("license")),
        "rights": head["rights"],
        "url": head["url"],
        "replaced": replaced,
    }


def sniff(page: bytes) -> None:
    """Refuse what is no text, whatever its name or its server says."""
    head = page[:4096]
    if not head.strip():
        raise DocumentError("is empty")
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise DocumentError(f"is {what}, not a page")
    utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if not utf16 and (b"\0" in head or len(_CONTROLS.findall(head)) > len(head) // 100):
        raise DocumentError("is binary, not a page")


def to_text(page: bytes, charset: str | None) -> tuple[str, int]:
    """The page as text and how many characters were replaced; byte order marks, then HTTP, then the page's own word.

    Where none says it: UTF-8 if it is, else what it looks like. Raises ``DocumentError`` over 1 % of replaced ones.
    """
    declared = _META_CHARSET.search(page[:4096])
    names = [_marked(page), charset, declared[1].decode() if declared else None]
    chosen = next((encoding for name in names if name and (encoding := _allowed(name))), None)
    if chosen in (None, "utf-8") or page.isascii():
        try:
            return page.decode("utf-8-sig"), 0
        except UnicodeDecodeError:
            chosen = chosen or _guess(page)
    text = page.decode("cp1252" if chosen == "iso8859-1" else str(chosen), errors="replace").removeprefix("\ufeff")
    replaced = text.count("\ufffd")
    if replaced > MAX_REPLACED * len(text):
        raise DocumentError(f"is not {chosen}: {replaced} of {len(text)} characters cannot be decoded")
    return text, replaced


def _marked(page: bytes) -> str | None:
    return "utf-16" if page[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8" if page[:3] == b"\xef\xbb\xbf" else None


def _allowed(name: str) -> str | None:
    try:
        found = codecs.lookup(name.strip("\"' ")).name
    except (LookupError, ValueError):
        return None
    if found == "ascii":
        return "cp1252"
    if found in _ENCODINGS:
        return found
    raise DocumentError(f"says that it is {name}, an encoding that is not read")


def _guess(page: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    try:
        return _allowed(str(detect_encoding(page) or "cp1252")) or "cp1252"
    except DocumentError:
        return "cp1252"


def _head(text: str) -> dict[str, str | None]:
    """What the page says of itself: date, language, licence, rights signals, address."""
    from resiliparse.parse.html import HTMLTree

    document = HTMLTree.parse(text).document
    if document is None:
        return dict.fromkeys(("created", "language", "license", "rights", "url"))
    signals: list[str] = []
    links: dict[str, str] = {}
    for meta in document.query_selector_all("meta[name][content]"):
        name = str(meta.getattr("name")).strip().lower()
        if name in _SIGNALS:
            signals.append(f"{name}: {str(meta.getattr('content')).strip()[:200]}")
    for link in document.query_selector_all("link[rel][href], a[rel][href]"):
        for rel in str(link.getattr("rel")).lower().split():
            links.setdefault(rel, str(link.getattr("href")).strip())
    root = document.query_selector("html")
    language = str(root.getattr("lang") or root.getattr("xml:lang") or "").strip() if root is not None else ""
    url = links.get("canonical", "")
    return {
        "created": _published(document, text),
        "language": language if re.fullmatch(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*", language) else None,
        "license": _spdx(links.get("license")),
        "rights": "; ".join(dict.fromkeys(signals)) or None,
        "url": url if re.match(r"https?://[^\s<>\"]{3,2000}$", url) else None,
    }


def _published(document: Any, text: str) -> str | None:
    """When the page says that it was published, in its own words."""
    for place in _PUBLISHED:
        element = document.query_selector(place)
        if element is not None and (
            said := str(element.getattr("content") or element.getattr("datetime") or "").strip()
        ):
            return said[:40]
    linked = _LINKED_DATA.search(text)
    return linked[1] if linked else None


def _rendered(body: Any) -> str:
    """The text of trafilatura's tree (TEI's names) with its paragraphs apart and its code as it stands."""
    for element in body.iter():
        if isinstance(element.tag, str):
            # what was preformatted is code, or a quotation without paragraphs
            plain = element.tag == "code" or (element.tag == "quote" and element.find("p") is None)
            lines = plain and "\n" in "".join(element.itertext()).strip()
            element.tag = "pre" if lines else _TAGS.get(element.tag, element.tag)
    return text_of(body)


def _fallback(text: str) -> str:
    """Where trafilatura finds nothing, another extractor may."""
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(text, main_content=True))


def _spdx(words: str | None) -> str | None:
    """The SPDX name of a Creative Commons deed or name."""
    if not words:
        return None
    if deed := _DEED.search(words):
        if deed[1].lower() == "publicdomain":
            return "CC0-1.0" if deed[2].lower() == "zero" else None
        return f"CC-{deed[2].upper()}-{deed[3]}"
    name = _NAME.search(words)
    return f"CC-{name[1].upper()}-{name[2]}" if name else None
