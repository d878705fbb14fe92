"""What a mail repeats, taken off: quoted replies, forwarded mails, signatures, footers of mailing lists."""

from __future__ import annotations

import re

_QUOTE = re.compile(r"^[ \t]*(?:[A-Za-z]{0,3}>|\|[ \t]).*$")
_WROTE = re.compile(
    r"^(?:On\b.{5,300}\bwrote|Am\b.{5,300}\bschrieb.{0,100}|Le\b.{5,300}\ba écrit|El\b.{5,300}\bescribió"
    r"|Il\b.{5,300}\bha scritto|.{3,200}\b(?:wrote|writes|schrieb|said)|In (?:message|article) <.{3,300}>.{0,200}"
    r"|>>>>>.{0,200}|\S.{0,100}>[ \t](?:wrote|writes))[ \t]*:?[ \t]*$",
    re.IGNORECASE | re.DOTALL,
)
_FORWARDED = re.compile(
    r"^[ \t]*(?:-{2,}[ \t]*(?:Original Message|Original-Nachricht|Ursprüngliche Nachricht|Message d'origine|"
    r"Mensaje original|Messaggio originale)[ \t]*-{2,}|_{20,}[ \t]*\n(?:From|Von|De|Da):[ \t].*)",
    re.IGNORECASE | re.MULTILINE,
)
_OUTLOOK = re.compile(
    r"^[*]?(?:From|Von|De|Da):[*]?[ \t].*\n(?:.*\n){0,2}?[*]?(?:Sent|Date|Gesendet|Datum|Envoyé|Enviado|Inviato):",
    re.IGNORECASE | re.MULTILINE,
)
_SIGNATURE = re.compile(r"^(?:-- |--|— )[ \t]*$", re.MULTILINE)
_FOOTER = re.compile(
    r"^(?:_{20,}|-{20,}|={20,})[ \t]*\n(?:.*\n){0,4}?.*(?:mailing list|unsubscribe|listinfo|this sf\.net email|"
    r"sponsored by).*",
    re.IGNORECASE | re.MULTILINE,
)


def trimmed(text: str) -> str:
    """``text`` without quoted replies (and the line that opens them), signature and footers of lists.

    >>> trimmed("Yes.\\n\\nOn Tue, Ann wrote:\\n> Will it rain?\\n-- \\nBob")
    'Yes.'
    """
    for mark in (_FORWARDED, _OUTLOOK, _FOOTER, _SIGNATURE):
        if (found := mark.search(text)) is not None:
            text = text[: found.start()]
    lines = text.split("\n")
    kept: list[str] = []
    for line in lines:
        if _QUOTE.match(line):
            while kept and not kept[-1].strip():
                kept.pop()
            _drop_opening(kept)
            if kept and kept[-1].strip():
                kept.append("")
        else:
            kept.append(line.rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def _drop_opening(kept: list[str]) -> None:
    """Take off the one to three lines that say who wrote what follows."""
    for count in (1, 2, 3):
        if len(kept) >= count and all(line.strip() for line in kept[-count:]):
            said = " ".join(line.strip() for line in kept[-count:])
            alone = count == len(kept) or not kept[-count - 1].strip()
            if len(said) < 400 and _WROTE.match(said) and (count == 1 or alone):
                del kept[-count:]
                return
