"""Web pages: main text, title, author, date, licence, rights and language of an HTML page."""

from __future__ import annotations

import codecs
import re
from typing import Any

from lamina.data.readers.main_text import main_text, parse
from lamina.data.readers.markup import text_of
from lamina.data.readers.page_head import head_of
from lamina.data.readers.page_links import links_of
from lamina.data.readers.streams import MAX_REPLACED, recognised
from lamina.kit.errors import DocumentError

MAX_BYTES = 20 << 20  # of a decoded page
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
#: The encodings of the web (WHATWG Encoding Standard §4.2) less UTF-7, HZ and ISO-2022, in which markup can hide.
_ENCODING_NAMES = (
    "utf-8 utf-16 utf-16-le utf-16-be iso8859-1 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8"
    " iso8859-10 iso8859-13 iso8859-14 iso8859-15 iso8859-16 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257"
    " cp1258 cp874 cp866 koi8-r koi8-u mac-roman gbk gb18030 gb2312 big5 euc_jp shift_jis cp932 euc_kr cp949"
)
_ENCODINGS = frozenset(_ENCODING_NAMES.split())
_TAGS = {"head": "h2", "list": "ul", "item": "li", "lb": "br", "row": "tr", "cell": "td", "quote": "blockquote"}
#: A hundred opening tags of one name: no parser goes so deep, and some take forever.
_NESTED = re.compile(r"(<([A-Za-z]\w{0,20})\b[^<>]{0,200}>)\s*(?:<\2\b[^<>]{0,200}>\s*){99,}")
_SHORT = 200  # characters: of so little text another extractor is asked
_WALL = re.compile(
    r"(?:enable|turn on|activate|without|requires?|need) javascript|enable cookies|just a moment\.\.\."
    r"|javascript (?:is (?:disabled|required|not enabled|turned off)|must be|needs to be)|access denied"
    r"|checking (?:your browser|if the site connection)|verif(?:y|ying) (?:that )?you are (?:a )?human"
    r"|accept (?:all )?cookies to continue|unusual traffic from your|are you a robot",
    re.IGNORECASE,
)
_WALL_CHARACTERS = 400


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"text", "title", "author", "created", "language", "license", "rights", "url", "replaced"}`` of a page.

    ``payload``: ``{"url", "charset", "plain", "extract", "links"}``, all optional; ``url`` is where it was found;
    ``extract`` is "precise" (trafilatura) or "fast" (see ``main_text``). With ``links`` the answer has also "links" and
    "follow" (whether the page lets them be followed), and for a page without text "reason" in place of an error.
    Raises ``DocumentError`` for what is no page, or has no main text.
    """
    page = data or b""
    sniff(page)
    text, replaced = to_text(page, payload.get("charset"))
    if payload.get("plain"):
        return {"text": text.strip(), "title": None, "replaced": replaced}
    root = parse(text)
    if root is None and (flat := _NESTED.sub(r"\1", text)) != text:
        text, root = flat, parse(flat)
    top = root if root is not None else parse(_beginning(text))
    found: dict[str, Any] = head_of(top) if top is not None else {}
    if payload.get("links"):
        found |= {"links": [], "follow": True} if top is None else links_of(top, payload.get("url") or "")
    try:
        fast = payload.get("extract") == "fast"
        body = (_fast(root, text) if fast else _precise(text, payload.get("url"))).strip()
        _refuse_walls(body)
    except DocumentError as error:
        if not payload.get("links"):
            raise
        return found | {"text": None, "reason": error.what, "replaced": replaced}
    return found | {"text": body, "replaced": replaced}


def _fast(root: Any, text: str) -> str:
    """By sizes and names; by resiliparse what lxml does not read; by trafilatura what gave little of much."""
    if root is None:
        return _fallback(text)
    body = main_text(root)
    if len(body) < _SHORT and len(whole := _fallback(text)) > 2 * len(body):
        return _trafilatura(text, None) or whole
    return body


def _precise(text: str, url: str | None) -> str:
    return _trafilatura(text, url) or _fallback(text)


def _trafilatura(text: str, url: str | None) -> str:
    import trafilatura

    found = trafilatura.bare_extraction(text, url=url, with_metadata=False, include_comments=False)
    body = None if found is None or isinstance(found, dict) else found.body
    return "" if body is None else _rendered(body)


def _beginning(text: str) -> str:
    """The head alone, of a page that is too deep or too large for the parser."""
    place = re.search(r"<body\b|</head>", text[:1_000_000], re.IGNORECASE)
    return text[: place.start()] if place else ""


def _refuse_walls(body: str) -> None:
    if not body:
        raise DocumentError("has no main text")
    if len(body) < _WALL_CHARACTERS and _WALL.search(body):
        raise DocumentError(f"shows a wall in place of its text: {' '.join(body.split())[:80]!r}")


def sniff(page: bytes) -> None:
    """Refuse what is no text, whatever its name or its server says."""
    head = page[:4096]
    if not head.strip():
        raise DocumentError("is empty")
    if what := recognised(head):
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
