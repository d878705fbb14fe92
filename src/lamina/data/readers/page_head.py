"""What a page says of itself: title, author, date, language, licence, rights, address, and whether it wants readers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from lamina.data.values import spdx_license

_SIGNALS = ("robots", "tdm-reservation", "tdm-policy", "googlebot", "content-usage")
_TITLES = ("citation_title", "og:title", "dc.title", "dcterms.title", "twitter:title")
_AUTHORS = (
    *("author", "citation_author", "dc.creator", "dcterms.creator", "article:author", "parsely-author", "byl"),
    *("sailthru.author", "twitter:creator"),
)
#: Where pages say when they were published; a search of their text for dates finds others' dates.
_DATES = (
    *("article:published_time", "datepublished", "date", "dcterms.created", "dcterms.date", "dc.date", "pubdate"),
    *("citation_publication_date", "citation_date", "parsely-pub-date", "publish-date", "og:published_time"),
)
_LICENSES = ("dcterms.license", "dc.rights.license", "dc.rights", "dcterms.rights", "license")
_LINKED_DATE = re.compile(r'"datePublished"\s*:\s*"([^"<>]{4,40})"')
_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
_ADDRESS = re.compile(r"https?://[^\s<>\"]{3,2000}")
_DEED = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/", re.IGNORECASE)
_PERMALINK = re.compile(r"\s*[¶§🔗]\ufe0f?$|\s+#$")
_LINKED_BYTES = 200_000
_SUFFIX = re.compile(r"\s+[|·•–—»:-]\s+[^|·•–—»]{1,60}$")  # "Title | Name of the site"


def head_of(root: Any) -> dict[str, Any]:
    """``{"title", "author", "created", "language", "license", "rights", "url"}``, null where it says nothing.

    ``root``: a tree of lxml's.
    """
    metas = _metas(root)
    linked = list(_linked_data(root))
    rels = _rels(root)
    signals = [f"{name}: {value[:200]}" for name, value in metas if name in _SIGNALS]
    first = dict(reversed(metas))
    url = rels.get("canonical", "")
    return {
        "title": _title(root, first, linked),
        "author": _author(root, metas, linked, rels),
        "created": _created(root, first, linked),
        "language": _language(root, first, linked),
        "license": _license(root, first, linked, rels),
        "rights": "; ".join(dict.fromkeys(signals)) or None,
        "url": url if _ADDRESS.fullmatch(url) else None,
    }


def _metas(root: Any) -> list[tuple[str, str]]:
    found = []
    for meta in root.iter("meta"):
        content = (meta.get("content") or "").strip()
        name = meta.get("name") or meta.get("property") or meta.get("itemprop") or meta.get("http-equiv")
        if content and name:
            found.append((name.strip().lower(), content))
    return found


def _rels(root: Any) -> dict[str, str]:
    """Targets by relation, of links in the head and in the text; the first of each."""
    found: dict[str, str] = {}
    for link in root.iter("link", "a"):
        for rel in (link.get("rel") or "").lower().split():
            found.setdefault(rel, (link.get("href") or "").strip())
            if rel == "author":
                found.setdefault("author's name", _words(link))
    return found


def _linked_data(root: Any) -> Iterator[dict[str, Any]]:
    """Objects of JSON-LD (schema.org); what is damaged is passed over."""
    for script in root.iter("script"):
        if (script.get("type") or "").lower() != "application/ld+json" or not script.text:
            continue
        if len(script.text) > _LINKED_BYTES:
            continue
        try:
            value = orjson.loads(script.text)
        except orjson.JSONDecodeError:
            if date := _LINKED_DATE.search(script.text):
                yield {"datePublished": date[1]}
            continue
        items = value if isinstance(value, list) else [value]
        for item in items[:50]:
            if isinstance(item, dict):
                graph = item.get("@graph")
                yield from (part for part in (graph if isinstance(graph, list) else [item])[:50] if _about_page(part))


def _about_page(item: Any) -> bool:
    kinds = item.get("@type", "") if isinstance(item, dict) else None
    if kinds is None:
        return False
    names = kinds if isinstance(kinds, list) else [kinds]
    return not any(
        str(name) in ("Organization", "Person", "BreadcrumbList", "WebSite", "ImageObject") for name in names
    )


def _said(linked: list[dict[str, Any]], key: str) -> str | None:
    """The first text under ``key``; of an object or a list the names in it."""
    for item in linked:
        if text := _name(item.get(key)):
            return text
    return None


def _name(value: Any) -> str | None:
    if isinstance(value, str):
        return " ".join(value.split())[:500] or None
    if isinstance(value, dict):
        return _name(value.get("name") or value.get("@id"))
    if isinstance(value, list):
        return ", ".join(part for item in value[:20] if (part := _name(item))) or None
    return None


def _title(root: Any, first: dict[str, str], linked: list[dict[str, Any]]) -> str | None:
    told = next((first[name] for name in _TITLES if name in first), None) or _said(linked, "headline")
    if told:
        site = first.get("og:site_name", "")
        return _without_site(told, site)
    headings = [words for heading in root.iter("h1") if (words := _words(heading))]
    if len(headings) == 1:
        return headings[0]
    title = next((words for element in root.iter("title") if (words := _words(element))), None)
    if title:
        return _SUFFIX.sub("", title)
    return headings[0] if headings else next((words for h in root.iter("h2") if (words := _words(h))), None)


def _without_site(title: str, site: str) -> str:
    cut = re.sub(rf"\s+[|·•–—»:-]\s+{re.escape(site)}$", "", title) if site else title
    return " ".join((cut or title).split())[:500]


def _author(root: Any, metas: list[tuple[str, str]], linked: list[dict[str, Any]], rels: dict[str, str]) -> str | None:
    names = [value for wanted in _AUTHORS for name, value in metas if name == wanted and _person(value)]
    if names:
        kind = next(name for name in _AUTHORS if any(name == n and _person(v) for n, v in metas))
        return ", ".join(dict.fromkeys(value for name, value in metas if name == kind and _person(value)))[:500]
    if (told := _said(linked, "author")) and _person(told):
        return told
    if _person(rels.get("author's name", "")):
        return rels["author's name"]
    for element in root.iterfind(".//*[@itemprop='author']"):
        if _person(words := _words(element)):
            return words
    for element in root.iterfind(".//*[@class]"):
        if element.get("class").lower() in (
            "byline",
            "author",
            "author-name",
            "entry-author",
            "post-author",
            "p-author",
        ):
            words = re.sub(r"^(?:by|von|par|por|di)\s+", "", _words(element), flags=re.IGNORECASE)
            if _person(words):
                return words
    return None


def _person(words: str) -> bool:
    return 2 < len(words) <= 200 and not words.startswith(("http:", "https:", "@")) and len(words.split()) <= 30


def _created(root: Any, first: dict[str, str], linked: list[dict[str, Any]]) -> str | None:
    """When the page says that it was published, in its own words."""
    for name in _DATES:
        if name in first:
            return first[name][:40]
    if told := _said(linked, "datePublished"):
        return told[:40]
    for time in root.iter("time"):
        at = (time.get("datetime") or "").strip()
        if at and (time.get("itemprop") == "datePublished" or time.get("pubdate") is not None or _in_header(time)):
            return at[:40]
    return None


def _in_header(element: Any) -> bool:
    above = [ancestor.tag for ancestor in element.iterancestors()]
    return "header" in above and "article" in above[above.index("header") :]


def _language(root: Any, first: dict[str, str], linked: list[dict[str, Any]]) -> str | None:
    page = next(iter(root.iter("html")), root)
    spaced = "{http://www.w3.org/XML/1998/namespace}lang"
    told = (page.get("lang"), page.get("xml:lang"), page.get(spaced), first.get("content-language"))
    for tag in (*told, first.get("dc.language"), _said(linked, "inLanguage"), first.get("og:locale")):
        if tag and _TAG.fullmatch(tag.strip()):
            return tag.strip()
    return None


def _license(root: Any, first: dict[str, str], linked: list[dict[str, Any]], rels: dict[str, str]) -> str | None:
    """The SPDX name of the page's licence. A deed that is only talked about in the text is not the page's."""
    told = [rels.get("license"), _said(linked, "license"), *(first.get(name) for name in _LICENSES)]
    for footer in root.iter("footer"):
        told += [link.get("href") for link in footer.iter("a") if _DEED.search(link.get("href") or "")]
    for words in told:
        if words and (name := spdx_license(words)) and name != words:
            return name
    return next((words for words in told[:2] if words and re.fullmatch(r"[A-Za-z0-9.+-]{3,40}", words)), None)


def _words(element: Any) -> str:
    """The words of an element, without the sign behind a heading that links to it."""
    return _PERMALINK.sub("", " ".join("".join(element.itertext()).split())[:500])
