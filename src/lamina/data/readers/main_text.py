"""The main text of a page, quickly: one parse, the sizes of all elements in one pass, no second opinion.

What surely is no text of the page (scripts, navigation, forms, what is hidden) goes first, then what is named like
boilerplate and looks like it, then the element with the text is looked for (Finn et al. 2001: where the text is and the
links are not), then lists of links go. Where this finds little, the caller asks another extractor.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from lamina.data.readers.markup import text_of

_GONE = (
    *("script", "style", "noscript", "template", "nav", "footer", "form", "button", "select", "option", "textarea"),
    *("input", "iframe", "object", "embed", "applet", "svg", "canvas", "video", "audio", "picture", "map", "dialog"),
    *("menu", "link", "meta", "base", "head", "frame", "frameset", "img", "datalist", "progress"),
)
_ROLE_NAMES = "navigation banner contentinfo search complementary menu menubar dialog alert alertdialog toolbar tablist"
_ROLES = frozenset(_ROLE_NAMES.split())


def _named(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|[\s_-])(?:{'|'.join(words.split())})(?:$|[\s_-])", re.IGNORECASE)


#: Parts of class names and ids. SURELY: gone whatever it holds; LIKELY: gone if it is small or full of links.
_SURELY = _named(
    r"comments? commentlist disqus\w* respond footer sidebar sphinxsidebar related cookies? consent gdpr nav navbar"
    r" navigation menu sr-only visually-hidden recommend\w* newsletter"
)
_LIKELY = _named(
    r"navi submenu breadcrumbs? crumbs? foot sidenav share sharing sharedaddy social\w* addthis\w* subscribe"
    r" subscription signup login banner advert\w* ads? adsense sponsor\w* promo\w* popup modal overlay pagination pager"
    r" paging prevnext skip skiplinks? toolbar widgets? tags taglist tagcloud byline-social headerlink toc"
    r" tableofcontents topnav masthead copyright legal metadata hidden screen-reader-text print-only noprint outbrain"
    r" taboola most-?(?:popular|read|viewed) trending read-?(?:more|next) more-(?:stories|news|from) also-like"
    r" caption-credit author-?(?:bio|box|info) rating editsection mw-editsection catlinks jump-?to teaser cta"
    r" back-?to-?top"
)
_CONTENT = _named(
    "article articlebody content main body post entry story text page document footnotes? admonition note"
)
#: Within a line and hardly ever boilerplate by themselves: their tags go, their words stay.
_INLINE = (
    *("b", "i", "em", "strong", "tt", "code", "samp", "kbd", "var", "cite", "sub", "sup", "abbr", "acronym", "font"),
    *("big", "u", "ins", "s", "strike", "mark", "q", "dfn", "wbr", "bdi", "bdo", "nobr"),
)
_INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MARKED = frozenset(("article", "main"))
_KEPT = frozenset(("html", "body", "article", "main"))
_WITH_ID = frozenset(("div", "ul", "aside"))  # ids of sections and headings are made of their words
_WHOLE = frozenset(("p", "pre", "table", "ul", "ol", "dl", "tbody", "h1", "blockquote", "a", "span", "section"))
_LISTS = ("div", "section", "ul", "ol", "dl", "table", "header", "center", "aside")
_MOST = 0.7  # of an element's text in one child: the child holds the text
_LINKED = 0.8  # of the characters in links: a list of links
_LINKS = 3000  # characters; longer lists are what the page is about
_DENSE = 0.3
_SMALL = 0.1


def parse(text: str) -> Any:
    """The page as a tree of lxml's, without comments; None where the parser gave up (nesting, size)."""
    from lxml import etree

    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser=parser)
    except (etree.LxmlError, ValueError):
        return None
    fatal = any(entry.level >= etree.ErrorLevels.FATAL for entry in parser.error_log)
    return None if fatal else root


def main_text(root: Any) -> str:
    """The main text of a page that ``parse`` read; its tree is used up. "" where there is none."""
    from lxml import etree

    body = root.find("body")
    body = root if body is None else body
    etree.strip_elements(body, *_GONE, with_tail=False)
    for element in list(body.iter(*_INLINE)):
        if element.attrib and _verdict(element) == 2:
            _remove(element)
    etree.strip_tags(body, *_INLINE)
    sizes = _Sizes(body)
    _without_boilerplate(body, sizes)
    top = _holder(body, sizes)
    _without_link_lists(top, sizes)
    etree.strip_tags(top, "a", "span")
    return text_of(top)


class _Sizes:
    """Characters, and characters of links, in and below each element."""

    def __init__(self, root: Any) -> None:
        self.order = list(root.iter())
        self.chars = dict.fromkeys(self.order, 0)
        self.links = dict.fromkeys(self.order, 0)
        chars, links = self.chars, self.links
        for element in reversed(self.order):  # children come before their parents
            here = chars[element]
            if (text := element.text) and (text := text.strip()):
                here += len(text)
            linked = here if element.tag == "a" else links[element]
            chars[element], links[element] = here, linked
            above = element.getparent()
            if above in chars:
                if (text := element.tail) and (text := text.strip()):
                    here += len(text)
                chars[above] += here
                links[above] += linked

    def text(self, element: Any) -> int:
        """Characters outside of links."""
        return self.chars[element] - self.links[element]

    def remove(self, element: Any) -> None:
        """Take an element out of its tree; what follows it stays."""
        chars, linked = self.chars[element], self.links[element]
        for above in element.iterancestors():
            if above not in self.chars:
                break
            linked = chars if above.tag == "a" else linked
            self.chars[above] -= chars
            self.links[above] -= linked
        _remove(element)


def _without_boilerplate(body: Any, sizes: _Sizes) -> None:
    whole = max(1, sizes.chars[body])
    for element in sizes.order:
        if not element.attrib or element.tag in _KEPT or sizes.chars[element] >= 0.5 * whole:
            continue
        verdict = _verdict(element)
        if verdict == 0:
            continue
        linked = sizes.links[element] >= _DENSE * sizes.chars[element]
        if verdict == 2 or linked or sizes.text(element) < max(100.0, _SMALL * whole):
            sizes.remove(element)


def _verdict(element: Any) -> int:
    """Whether an element is boilerplate by its attributes: 0 no, 1 likely, 2 surely."""
    get = element.get
    if (role := get("role")) and role in _ROLES:
        return 2
    if get("hidden") is not None or get("aria-hidden") == "true":
        return 2
    if (style := get("style")) and _INVISIBLE.search(style):
        return 2
    name = get("class") or ""
    if element.tag in _WITH_ID and "section" not in name and (id := get("id")):
        name = f"{name} {id}"
    return _verdict_on(name, element.tag == "aside") if name else int(element.tag == "aside")


@lru_cache(maxsize=8192)
def _verdict_on(name: str, aside: bool) -> int:
    if _CONTENT.search(name):
        return 0
    if _SURELY.search(name):
        return 2
    return 1 if aside or _LIKELY.search(name) else 0


def _remove(element: Any) -> None:
    """Take an element out; what follows it stays."""
    above = element.getparent()
    if above is None:
        return
    if element.tail:
        before = element.getprevious()
        if before is not None:
            before.tail = (before.tail or "") + element.tail
        else:
            above.text = (above.text or "") + element.tail
    above.remove(element)


def _holder(body: Any, sizes: _Sizes) -> Any:
    """The smallest element that holds the text, as far as that can be seen."""
    top, whole = body, max(1, sizes.text(body))
    marked = [element for element in body.iter() if _is_marked(element)]
    best = max(marked, key=sizes.text, default=None)
    if best is not None and sizes.text(best) >= 0.5 * whole:
        top = best
    while len(top):
        children = list(top)
        child = max(children, key=sizes.text)
        size = sizes.text(child)
        if child.tag in _WHOLE or size < _MOST * sizes.text(top) or size < 0.5 * whole:
            break
        if any(_alike(child, other) and sizes.text(other) > 40 for other in children):
            break  # one of several sections
        top = child
    return top


def _alike(one: Any, other: Any) -> bool:
    return one is not other and one.tag == other.tag and one.get("class") == other.get("class")


def _without_link_lists(top: Any, sizes: _Sizes) -> None:
    for element in list(top.iter(*_LISTS)):
        if (
            element is not top
            and _LINKED * sizes.chars[element] < sizes.links[element]
            and sizes.chars[element] < _LINKS
        ):
            _remove(element)
    for element in list(top.iter("p")):
        if element is not top and 0.9 * sizes.chars[element] < sizes.links[element] and sizes.chars[element] < 40:
            _remove(element)


def _is_marked(element: Any) -> bool:
    """Whether an element says of itself that it holds the text."""
    return element.tag in _MARKED or element.get("role") == "main" or element.get("itemprop") == "articleBody"
