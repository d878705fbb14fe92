"""Sources of documentation as plain text: reStructuredText, AsciiDoc, Markdown, DocBook and Mallard without markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import Any

_DROPPED = """
    toctree index only highlight currentmodule contents include raw image figure literalinclude kernel-doc csv-table
    sectionauthor moduleauthor deprecated-removed cmake-module default-domain tabularcolumns sectnum kernel-figure
    kernel-render kernel-abi kernel-feat maintainers-include audit-event impl-detail cssclass math graphviz meta
"""
_DIRECTIVE = re.compile(r"^(\s*)\.\. +([\w:.-]+)::\s*(.*)$")
_ROLE = re.compile(r"(?::[\w:+.-]+:)?`([^`<]*?)\s*(?:<[^`>]*>)?`(?::[\w:]+:)?_*")
#: Elements of DocBook and Mallard that stand within a line; the others are set apart.
_INLINE = """
    acronym action app application br citetitle city cmd code command computeroutput constant country email em emphasis
    envar errorname file filename firstname firstterm foreignphrase function gui guibutton guiicon guilabel guiseq
    hardware holder input interface keycombo keyseq link literal markup
    menuchoice mousebutton option optional orgname othername output parameter personname phrase productname
    productnumber
    prompt property quote replaceable returnvalue sgmltag shortcut span structfield subscript superscript surname
    symbol sys systemitem term trademark type uri ulink userinput var varname wordasword xref year
"""
_NO_TEXT = """
    alt bookinfo chapterinfo comment credit desc revision include indexterm info keyword keywordset license mediaobject
    imageobject textobject media prefaceinfo remark sect1info sect2info sectioninfo title-alt
"""


def rst(text: str) -> str:
    """reStructuredText without comments, options, targets and roles; directives with text keep it."""
    kept: list[str] = []
    skipped: int | None = None  # indentation of a directive whose content goes
    option = False
    for line in text.expandtabs(8).splitlines():
        indent = len(line) - len(line.lstrip())
        if skipped is not None:
            if not line.strip() or indent > skipped:
                continue
            skipped = None
        directive = _DIRECTIVE.match(line)
        if directive:
            name = directive[2].rpartition(":")[2]
            if name in _DROPPED.split() or "|" in line[: line.index("::")]:
                skipped = indent
            else:
                kept.append(directive[1] + ("" if name.endswith(("block", "code")) else directive[3]))
            option = True
        elif re.match(r"\s*\.\.( |$)", line):
            skipped = indent  # a comment, a target, a substitution
        elif option and re.match(r"\s+:[\w-]+:", line):
            continue
        else:
            option = option and not line.strip()
            kept.append("" if re.fullmatch(r"\s*([=\-~^\"'#*+.`_:])\1{2,}\s*|[ =+|-]{5,}", line) else line)
    plain = _ROLE.sub(lambda m: m[1].rpartition(".")[2] if m[1].startswith("~") else m[1], "\n".join(kept))
    return re.sub(r"\|(\w+)\||\[(#?\w*)\]_", "", plain)


def asciidoc(text: str) -> str:
    """AsciiDoc as git writes it."""
    lines = [
        line
        for line in text.splitlines()
        if not re.match(r"//|(?:ifdef|ifndef|endif|include)::|\[[\w\"',= -]*\]$|[-=~^+.*_]{4,}$|:[\w-]+:", line)
    ]
    plain = re.sub(r"linkgit:([\w.-]+)\[(\d)\]", r"\1 \2", "\n".join(lines))
    plain = re.sub(r"(?:link|xref):[^\s\[]+\[([^\]]*)\]|<<[\w-]+,([^>]*)>>", r"\1\2", plain)
    return re.sub(r"\{\w+\}|\[\[[\w-]+\]\]|<<([\w-]+)>>", " ", plain)


def markdown(text: str) -> str:
    """Markdown, with the roles and directives of MyST."""
    plain = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    plain = re.sub(r"^\[[^\]]+\]:.*$|^```.*$|^:::.*$|<[^>]{1,200}>", "", plain, flags=re.MULTILINE)
    plain = re.sub(r"\{[\w:]+\}(?=`)|^\([\w-]+\)=$", "", plain, flags=re.MULTILINE)
    return re.sub(r"\]\([^)]*\)|\]\[[^\]]*\]", "]", plain)


def xml(root: Any, elsewhere: Container[str] = ()) -> str:
    """The text of an element of DocBook or Mallard, without parts whose id is ``elsewhere``, on pages of their own."""
    parts: list[str] = []
    inline, silent = frozenset(_INLINE.split()), frozenset(_NO_TEXT.split())

    def walk(element: Any) -> None:
        name = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
        apart = name not in inline
        if apart:
            parts.append("\n")
        if name and name not in silent:
            parts.append(element.text or "")
            for child in element:
                if (child.get("id") or child.get("{http://www.w3.org/XML/1998/namespace}id")) not in elsewhere:
                    walk(child)
                parts.append(child.tail or "")
        if apart:
            parts.append("\n")

    walk(root)
    return "".join(parts)


PLAIN: dict[str, Callable[[str], str]] = {"rst": rst, "asciidoc": asciidoc, "markdown": markdown}
