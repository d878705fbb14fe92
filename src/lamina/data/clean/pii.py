"""Personal data: addresses, numbers and secrets give way to what belongs to nobody, or the text is only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import orjson
import pyarrow as pa

from lamina.data.clean.frames import DETAIL, to_frame, with_columns
from lamina.data.clean.pii_kinds import KINDS, NATIONAL, Kind
from lamina.kit.errors import ConfigError
from lamina.kit.identity import blake3_hex
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

_FIELDS = ("text", "title", "author", "meta")  # conversations lie in ``meta`` too
Action = Literal["mask", "hash", "remove"]


@STEPS("pii", kind="transform", version=3)
def pii(
    batch: pa.RecordBatch,
    *,
    email: bool = True,
    phone: bool = True,
    ip: bool = True,
    card: bool = True,
    iban: bool = True,
    secret: bool = True,
    national: tuple[str, ...] = (),
    action: Action = "mask",
    salt: str = "",
) -> pa.RecordBatch:
    """Finds personal data in text, title, author and meta; the ledger has the counts by kind (those of the text).

    ``email``; ``phone``; ``ip``: public addresses; ``card``: payment cards (Luhn); ``iban``: bank accounts (mod 97);
    ``secret``: private keys, tokens, passwords that are assigned; ``national``: identity numbers by country, each with
    its check digits (us-ssn, uk-nino, es-dni, fr-nir, de-steuer-id, br-cpf, nl-bsn, pl-pesel).
    ``action``: "mask" puts a placeholder there, "hash" a name that is the same wherever the same value stands
    ("email-3f9a1c02"; with a secret ``salt`` nobody can try values out), "remove" nothing.
    """
    chosen = {"secret": secret, "email": email, "iban": iban, "card": card, "ip": ip, "phone": phone}
    kinds = [kind for name, wanted in chosen.items() if wanted for kind in KINDS[name]] + _national(national)
    frame = to_frame(batch.select(list(_FIELDS)))
    details: list[str | None] = [None] * frame.height
    for name in _FIELDS:
        column = frame[name]
        edited: dict[int, str] = {}
        for row in _candidates(column, kinds):
            text, counts = _replaced(str(column[row]), kinds, action, salt)
            if counts:
                edited[row] = text
                if name == "text":
                    details[row] = orjson.dumps(counts).decode()
        if edited:
            frame = frame.with_columns(_scattered(column, edited))
    import polars as pl

    if any(details):
        frame = frame.with_columns(pl.Series(DETAIL, details, dtype=pl.String))
    return with_columns(batch, frame)


@STEPS("personal", kind="signal", version=2)
def personal(batch: pa.RecordBatch, *, national: tuple[str, ...] = ()) -> pa.RecordBatch:
    """Adds how many of each kind a text holds, for a Decide that drops documents instead of masking them:

    ``pii_email``, ``pii_phone``, ``pii_ip``, ``pii_card``, ``pii_iban``, ``pii_secret``, ``pii_national`` (int64).
    """
    import polars as pl

    kinds = [kind for some in KINDS.values() for kind in some] + _national(national)
    texts = to_frame(batch.select(["text"]))["text"]
    columns: dict[str, list[int]] = {name: [0] * len(texts) for name in (*KINDS, "national")}
    for row in _candidates(texts, kinds):
        for name, count in _replaced(str(texts[row]), kinds, "mask", "")[1].items():
            columns[name if name in KINDS else "national"][row] += count
    return with_columns(batch, pl.DataFrame({f"pii_{n}": pl.Series(c, dtype=pl.Int64) for n, c in columns.items()}))


def _national(names: Sequence[str]) -> list[Kind]:
    unknown = [name for name in names if name not in NATIONAL]
    if unknown:
        raise ConfigError(f"there is no identity number '{unknown[0]}'", where="national", hint=", ".join(NATIONAL))
    return [NATIONAL[name] for name in names]


def _candidates(column: pl.Series, kinds: Sequence[Kind]) -> list[int]:
    """The rows that may hold one of ``kinds``: most texts hold none, and Rust passes over them fast."""
    import polars as pl

    found = pl.Series([False] * len(column), dtype=pl.Boolean)
    for kind in kinds:
        found = found | column.str.contains(kind.pattern).fill_null(False)
    return found.arg_true().to_list()


def _replaced(text: str, kinds: Sequence[Kind], action: Action, salt: str) -> tuple[str, dict[str, int]]:
    """The text without its personal data, and how much of each kind there was. What one kind took, no other takes."""
    counts: Counter[str] = Counter()
    for kind in kinds:
        spans = kind.found(text)
        for begin, end in reversed(spans):  # from the end: what lies before keeps its place
            text = text[:begin] + _instead(kind, text[begin:end], action, salt) + text[end:]
        if spans:
            counts[kind.name] += len(spans)
    return text, dict(counts)


def _instead(kind: Kind, value: str, action: Action, salt: str) -> str:
    if action == "remove":
        return ""
    if action == "mask":
        return kind.placeholder
    plain = "".join(c for c in value.casefold() if c.isalnum() or c in "@.:_")
    return f"{kind.name}-{blake3_hex('pii', salt, kind.name, plain)[:8]}"


def _scattered(column: pl.Series, edited: dict[int, str]) -> pl.Series:
    import polars as pl

    return column.clone().scatter(list(edited), pl.Series(list(edited.values()), dtype=pl.String))
