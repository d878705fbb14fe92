"""MediaWiki's markup to plain text: links by their labels, tables by rows, headings with '#'; templates go.

One pass with a stack over the markup that nests (templates, links, tables, references), then one over the lines.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping

_RAW = ("nowiki", "pre", "syntaxhighlight", "source", "math", "chem", "score", "timeline", "templatedata", "graph")
_GONE = ("ref", "references", "gallery", "imagemap", "includeonly", "mapframe", "maplink", "templatestyles", "inputbox")
_NAMES = "|".join((*_RAW, *_GONE))
_TOKEN = re.compile(
    rf"<!--|\{{\{{|\}}\}}|\[\[|\]\]|^[ \t:]*\{{\||^[ \t]*\|\}}(?!\}})|<(/?)({_NAMES})\b([^<>]{{0,500}})>",
    re.IGNORECASE | re.MULTILINE,
)
_END = {name: re.compile(f"</{name}", re.IGNORECASE) for name in _RAW}
_CLOSED_BY = {"}}": "{{", "]]": "[[", "|}": "{|"}
_KEPT_RAW = ("nowiki", "pre", "syntaxhighlight", "source", "math", "chem")
#: Templates that hold words of the text, and which argument does (counted from 1; -1: the last).
_SPEAKING = {
    **{"lang": 2, "transl": -1, "nowrap": 1, "nobr": 1, "nobreak": 1, "small": 1, "big": 1, "abbr": 1, "tooltip": 1},
    **{"quote": 1, "blockquote": 1, "cquote": 1, "sic": 1, "em": 1, "strong": 1, "bold": 1, "italics": 1, "sup": 1},
    **{"sub": 1, "frac": 0, "convert": 0, "cvt": 0, "as of": 0, "ipa": 1, "angbr": 1, "var": 1, "mono": 1, "code": 1},
    **{"lang-en": 1, "lang-de": 1, "lang-fr": 1, "lang-es": 1, "lang-la": 1, "lang-el": 1, "lang-ru": 1, "zh": 1},
}
_SIGNS = {"!": "|", "=": "=", "ndash": "–", "mdash": "—", "spaced ndash": " – ", "snd": " – ", "nbsp": " ", "dot": "·"}
_HEADING = re.compile(r"(={1,6})[ \t]*(.+?)[ \t]*\1[ \t]*$")
_LINKED = re.compile(r"\[(?:https?:|ftp:|mailto:|//)[^\s\]]{0,2000}(?:[ \t]{1,9}([^\]\n]{0,500}))?\]")
_SWITCH = re.compile(r"__[A-Z]{3,30}__")
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]{0,20}\b[^<>]{0,1000}>")
_BREAK = re.compile(r"<(?:br|/p|/div|/li|/tr|hr)\b[^<>]{0,200}>", re.IGNORECASE)
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,12})?")
_ATTRIBUTES = re.compile(r"""^\s*(?:[A-Za-z-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s|"']+)\s*)+$""")
_APART = re.compile(r"class\s*=\s*[\"']?[^\"'\n]*\b(?:navbox|infobox|metadata|ambox|vcard|sidebar)", re.IGNORECASE)
_HIDE, _SHOW = "\ue000", "\ue001"  # around the number of a raw text, which no later step touches
_BAR = "\ue002"  # a bar of the text, not of the markup


def plain(text: str, namespaces: Mapping[str, int] | None = None) -> str:
    """The text of a page; ``namespaces``: number of each by its name in lower case (pictures are 6, categories 14).

    >>> plain("'''Ink''' is a [[liquid|wet]] thing.<ref>No.</ref> {{cite}}\\n== Use ==\\n* [[pen]]s")
    'Ink is a wet thing.\\n\\n## Use\\n\\n- pens'
    """
    raw: list[str] = []
    names = {"file": 6, "image": 6, "media": 6, "category": 14, **(namespaces or {})}
    flat = _flattened(text, raw, names)
    lines = _lines(flat.replace(_BAR, "|"))
    return re.sub(f"{_HIDE}(\\d+){_SHOW}", lambda m: raw[int(m[1])], "\n".join(lines)).strip("\n")


def _flattened(text: str, raw: list[str], names: Mapping[str, int]) -> str:
    """The text without what nests. Each piece is looked at once, whatever is left open."""
    stack: list[tuple[str, list[str]]] = [("", [])]
    at = 0
    unclosed: set[str] = set()  # elements of which no end comes any more
    while (token := _TOKEN.search(text, at)) is not None:
        stack[-1][1].append(text[at : token.start()])
        at = token.end()
        sign = token[0].strip().lstrip(":").strip() if token[2] is None else ""
        if token[0] == "<!--":
            end = text.find("-->", at)
            at = len(text) if end < 0 else end + 3
        elif token[2] is not None:
            at = _element(token, text, at, stack, raw, unclosed)
        elif sign in _CLOSED_BY:
            _close(stack, _CLOSED_BY[sign], token[0], names)
        else:
            stack.append((sign, []))
    stack[-1][1].append(text[at:])
    while len(stack) > 1:  # what is never closed: a table or template cut short keeps its words
        _, pieces = stack.pop()
        stack[-1][1].append("".join(pieces))
    return "".join(stack[0][1])


def _element(
    token: re.Match[str], text: str, at: int, stack: list[tuple[str, list[str]]], raw: list[str], unclosed: set[str]
) -> int:
    """A tag whose content is kept as it is, or goes; the place behind it."""
    closing, name, rest = token[1], token[2].lower(), token[3]
    if closing:
        if (place := _open_at(stack, name)) is not None:
            del stack[place:]
        return at
    if rest.rstrip().endswith("/"):
        return at
    if name not in _RAW:
        stack.append((name, []))
        return at
    found = _END[name].search(text, at) if name not in unclosed else None
    if found is None:
        unclosed.add(name)
        return at
    end = found.start()
    if name in _KEPT_RAW:
        words = html.unescape(text[at:end])
        stack[-1][1].append(f"{_HIDE}{len(raw)}{_SHOW}")
        raw.append(words.strip("\n") if name in ("pre", "syntaxhighlight", "source") else words.strip())
    after = text.find(">", end)
    return len(text) if after < 0 else after + 1


def _open_at(stack: list[tuple[str, list[str]]], sign: str) -> int | None:
    for place in range(len(stack) - 1, max(0, len(stack) - 50), -1):
        if stack[place][0] == sign:
            return place
    return None


def _close(stack: list[tuple[str, list[str]]], sign: str, token: str, names: Mapping[str, int]) -> None:
    place = _open_at(stack, sign)
    if place is None:
        stack[-1][1].append("" if token.strip() == "|}" else token)
        return
    while len(stack) > place + 1:  # opened within, and never closed
        _, pieces = stack.pop()
        stack[-1][1].append("".join(pieces))
    _, pieces = stack.pop()
    inner = "".join(pieces)
    meaning: dict[str, Callable[[], str]] = {
        "{{": lambda: _template(inner),
        "[[": lambda: _link(inner, names),
        "{|": lambda: _table(inner),
    }
    stack[-1][1].append(meaning[sign]())


def _template(inner: str) -> str:
    parts = inner.split("|")
    name = parts[0].strip().lower().replace("_", " ")
    if name in _SIGNS:
        return _SIGNS[name].replace("|", _BAR)
    if name not in _SPEAKING:
        return ""
    values = [part.strip() for part in parts[1:] if "=" not in part.split("<")[0]]
    place = _SPEAKING[name]
    if place == 0:
        return {"convert": " ", "cvt": " ", "frac": "/"}.get(name, " ").join(values[:2]) if values else ""
    found = values[place - 1 : place] if place > 0 else values[-1:]
    return found[0] if found else ""


def _link(inner: str, names: Mapping[str, int]) -> str:
    target, bar, label = inner.partition("|")
    target = target.strip()
    prefix = target.partition(":")[0].strip().lower() if ":" in target else ""
    if prefix and names.get(prefix) in (6, 14):
        return ""
    if not bar and prefix and _LANGUAGE.fullmatch(prefix) and names.get(prefix) is None:
        return ""  # the same page in another language
    if bar:
        return label.rpartition("|")[2].strip() or target.partition("(")[0].strip().rpartition(":")[2]
    return target.lstrip(":").replace("_", " ")


def _table(inner: str) -> str:
    """The rows of a table that have words, cells apart by a bar."""
    if _APART.search(inner[:500]):
        return ""
    rows: list[list[str]] = [[]]
    for line in inner.split("\n")[1:]:
        bare = line.strip()
        if bare.startswith("|-"):
            rows.append([])
        elif bare.startswith("|+"):
            rows += [[_cell(bare[2:])], []]
        elif bare[:1] in ("|", "!"):
            split = re.split(r"\|\||!!", bare[1:]) if bare[0] == "!" else bare[1:].split("||")
            rows[-1] += [_cell(cell) for cell in split]
        elif rows[-1] and bare:
            rows[-1][-1] = f"{rows[-1][-1]} {bare}".strip()
    told = [f" {_BAR} ".join(row).strip() for row in rows if any(cell.strip() for cell in row)]
    return "\n\n" + "\n".join(told) + "\n\n" if told else ""


def _cell(text: str) -> str:
    about, bar, words = text.partition("|")
    return (words if bar and _ATTRIBUTES.match(about) else text).strip()


def _lines(text: str) -> list[str]:
    text = _SWITCH.sub("", _BREAK.sub("\n", text))
    text = _LINKED.sub(lambda m: m[1] or "", text)
    text = re.sub(r"'{2,5}", "", _TAG.sub("", text))
    blocks: list[tuple[str, str]] = []
    for line in html.unescape(text).split("\n"):
        block = _line(line.rstrip())
        blocks.append(block if block[0].strip(" -*") else ("", ""))
    kept: list[str] = []
    before = ""
    for line, sort in _without_empty_sections(blocks):
        if line:
            if kept and not (before == sort and sort in ("item", "row", "code")):
                kept.append("")
            kept.append(line)
        before = sort
    return kept


def _without_empty_sections(blocks: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without the headings that nothing stands under: what did was a template, or references."""
    kept: list[tuple[str, str]] = []
    below: int | None = 0  # level of what follows where that is a heading (0: the end); None where it is text
    for line, sort in reversed(blocks):
        if sort == "#":
            if below is not None and below <= _level(line):
                continue
            below = _level(line)
        elif line:
            below = None
        kept.append((line, sort))
    return kept[::-1]


def _level(line: str) -> int:
    return len(line) - len(line.lstrip("#"))


def _line(line: str) -> tuple[str, str]:
    """A line without its marks, and its sort."""
    if line.startswith("=") and (heading := _HEADING.match(line)):
        return f"{'#' * len(heading[1])} {heading[2]}", "#"
    if line[:1] in ("*", "#"):
        deep = len(line) - len(line.lstrip("*#:;"))
        return f"{'  ' * min(deep - 1, 8)}- {line[deep:].strip()}", "item"
    if line[:1] in (":", ";"):
        return line.lstrip(":;*#").strip(), "text"
    if line.startswith("----"):
        return "", ""
    if line.startswith(" ") and line.strip():
        return line[1:], "code"
    return line.strip(), "row" if " | " in line or line.startswith("| ") else "text"
