"""LaTeX to text, lightly: headings with '#', items with '- ', mathematics as it is written; nothing is run."""

from __future__ import annotations

import re
from typing import Any
from unicodedata import normalize

from lamina.kit.errors import DocumentError

_COMMENT = re.compile(r"(?<!\\)%.*")
_ABOUT = re.compile(r"\\(title|author|date)\b\s*(?:\[[^\[\]]{0,500}\])?\{((?:[^{}]|\{[^{}]*\}){0,2000})\}")
_HEADING = re.compile(
    r"\\(part|chapter|section|subsection|subsubsection|paragraph)\*?\s*(?:\[[^\[\]]{0,500}\])?\{([^{}\n]{0,500})\}"
)
_LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
_DROPPED = re.compile(
    r"\\begin\{(figure|tikzpicture|thebibliography|filecontents|comment)\*?\}.*?\\end\{\1\*?\}", re.DOTALL
)
_SILENT = re.compile(
    r"\\(?:label|ref|eqref|pageref|autoref|cref|Cref|cite[a-z]*|Cite[a-z]*|index|glossary|bibliography|bibliographystyle|input"
    r"|include|includegraphics|usepackage|documentclass|vspace|hspace|setlength|setcounter|addtolength|pagestyle"
    r"|thispagestyle|thanks|hyphenation|phantom|nocite)\*?\s*(?:\[[^\[\]]{0,500}\]){0,3}(?:\{[^{}]{0,2000}\}){0,2}"
)
_LINK = re.compile(r"\\href\{[^{}]{0,2000}\}\{([^{}]{0,2000})\}")
_FOOTNOTE = re.compile(r"\\footnote(?:\[[^\[\]]{0,50}\])?\{([^{}]{0,4000})\}")
_COMMAND = re.compile(r"\\[A-Za-z@]+\*?[ \t]?(?:\[[^\[\]]{0,200}\])?\{([^{}]{0,20000})\}")
_BARE = re.compile(r"\\(?:[A-Za-z@]+\*?[ \t]?)")
_MATH = re.compile(
    r"\$\$.{1,5000}?\$\$|(?<!\\)\$[^$\n]{1,1000}\$|\\\[.{1,5000}?\\\]|\\\(.{1,1000}?\\\)"
    r"|\\begin\{(equation|align|gather|multline|eqnarray|verbatim|lstlisting|displaymath|math)\*?\}.{0,20000}?\\end\{\1\*?\}",
    re.DOTALL,
)
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "c": "\u0327", "v": "\u030c"}
_ACCENT = re.compile(r"\\(?:([\'`^\"~])\s*\{?([A-Za-z])\}?|([cv])\{([A-Za-z])\})")
_LETTERS = {
    **{r"\ss": "ß", r"\ae": "æ", r"\AE": "Æ", r"\o": "ø", r"\O": "Ø", r"\aa": "å", r"\AA": "Å", r"\l": "ł"},
    **{r"\ldots": "…", r"\dots": "…", r"\LaTeX": "LaTeX", r"\TeX": "TeX", r"\textbackslash": "\\", r"\S": "§"},
}
_LETTER = re.compile(
    r"(\\(?:ss|ae|AE|o|O|aa|AA|l|ldots|dots|LaTeX|TeX|textbackslash|S))(?![A-Za-z])(?:\{\}|[ \t](?=\S))?"
)
_HIDE = "\ue000"


def plain(source: str) -> dict[str, Any]:
    """``{"text", "title", "author"}`` of a LaTeX file, or of a part of one without a preamble."""
    source = _COMMENT.sub("", source.replace("\r\n", "\n"))
    about = dict(_ABOUT.findall(source))
    begin = source.find(r"\begin{document}")
    end = source.find(r"\end{document}")
    body = source[begin + 16 if begin >= 0 else 0 : end if end > begin else None]
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(re.sub(r"\\(?:begin|end)\{(?:verbatim|lstlisting)\}", "", match[0]).strip("\n"))
        return f"{_HIDE}{len(kept) - 1}{_HIDE}"

    text = _words(_MATH.sub(keep, _DROPPED.sub("", body)))
    text = re.sub(f"{_HIDE}(\\d+){_HIDE}", lambda m: kept[int(m[1])], text)
    if not text.strip():
        raise DocumentError("holds no text: commands only")
    title, author = (" ".join(_words(about.get(name, "")).split()) or None for name in ("title", "author"))
    return {"text": text, "title": title, "author": author}


def _words(text: str) -> str:
    text = _HEADING.sub(lambda m: f"\n\n{'#' * _LEVELS[m[1]]} {m[2]}\n\n", text)
    text = _LINK.sub(r"\1", _FOOTNOTE.sub(r" (\1)", text))
    text = _SILENT.sub("", _ABOUT.sub("", text))
    text = re.sub(r"\\item\s*(?:\[([^\[\]]{0,200})\])?\s*", lambda m: f"\n- {m[1] + ' ' if m[1] else ''}", text)
    text = re.sub(r"\\(?:begin|end)\{[A-Za-z*]{1,30}\}(?:\[[^\[\]]{0,200}\]|\{[^{}]{0,200}\}){0,2}", "\n\n", text)
    text = re.sub(r"\\([ij])(?![A-Za-z])", r"\1", text)  # the dotless ones, under accents
    text = _ACCENT.sub(lambda m: normalize("NFC", (m[2] or m[4]) + _ACCENTS[m[1] or m[3]]), text)
    text = _LETTER.sub(lambda m: _LETTERS[m[1]], text)
    text = re.sub(r"\\\\(?:\[[^\[\]]{0,20}\])?|\\newline\b|\\par\b", "\n", text)
    text = re.sub(r"\\([%&#_{}$])", lambda m: chr(0xE100 + ord(m[1])), text)
    for _ in range(5):  # commands within commands
        text, times = _COMMAND.subn(r"\1", text)
        if not times:
            break
    text = _BARE.sub("", text).replace("{", "").replace("}", "").replace("~", " ").replace("&", " | ")
    text = text.replace("---", "—").replace("--", "–").replace("``", "“").replace("''", "”")
    text = re.sub("[\ue100-\ue17f]", lambda m: chr(ord(m[0]) - 0xE100), text)
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
