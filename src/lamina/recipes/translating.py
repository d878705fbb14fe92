"""The stack's own translators: served encoder-decoders of this and of other stacks, for back translation.

    models = own_translators(stack, tables)
    with translating(models):  # a process of its own
        build_corpus(…)        # its workers find the address in the environment

``POST <address>/translate`` with ``{"texts", "source", "target", "temperature", "seed"}`` gives ``{"texts": […]}``,
each direction by the first model that has it; a text that is too long comes back as it is. ``{"refused": …}``: no
model has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lamina.data.augment.translators import OWN, TRANSLATOR, names_in
from lamina.kit.durable import atomic_write
from lamina.kit.errors import InputError, NotFoundError, told
from lamina.kit.identity import blake3_hex
from lamina.recipes.answering import Answer, answer_until_parent_ends, answering, texts_of
from lamina.recipes.current import read_json
from lamina.recipes.rows import HELD_OUT, TRAIN, prefix, read_split
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.versions import open_registry

_TEXTS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTranslator:
    """The champion of a stack, an encoder-decoder: its folder and its content."""

    folder: str
    digest: str
    name: str  # of the stack
    own: bool  # this stack's, not another's
    pairs: str | None = None  # a file of pairs that none of the translators has learned from, where there are some


def asks_for_own(tables: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a table of ``[[data.augment]]`` names the stack's own model."""
    return any(OWN in names_in(table.get("translator", ())) for table in tables)


def own_translators(stack: Stack, tables: Sequence[Mapping[str, Any]]) -> list[OwnTranslator]:
    """The encoder-decoders that answer in this stack and in those that the tables name (``stacks``).

    Raises what opening another stack's file raises, and ``NotFoundError`` where nothing translates in it yet.
    """
    if not asks_for_own(tables):
        return []
    named = dict.fromkeys(str(place) for table in tables for place in table.get("stacks", ()))
    found, stacks = [one] if (one := _champion(stack, own=True)) is not None else [], [stack]
    for place in named:
        other = open_stack(stack.folder / place)
        one = _champion(other, own=False)
        if one is None:
            raise NotFoundError(
                "no encoder-decoder answers in this stack yet", where=str(other.file), hint=f"lamina up --stack {place}"
            )
        found.append(one)
        stacks.append(other)
    pairs = _held_out(stack, stacks)
    return [replace(one, pairs=pairs) for one in found]


@contextmanager
def translating(models: Sequence[str]) -> Iterator[None]:
    """While inside, the models in these folders translate at the address in the environment."""
    if not models:
        yield
        return
    with answering("lamina.recipes.translating", list(models), TRANSLATOR, what="translates"):
        yield


def _champion(stack: Stack, *, own: bool) -> OwnTranslator | None:
    if isinstance(stack.database, Path) and not stack.database.is_file():
        return None
    with open_registry(stack) as registry:
        try:
            version = registry.resolve("")
        except NotFoundError:
            return None
        folder = registry.folder(version.id)
    if not read_json(folder / "config.json").get("is_encoder_decoder"):
        return None
    return OwnTranslator(folder=str(folder), digest=version.digest, name=stack.name, own=own)


def _held_out(stack: Stack, others: Sequence[Stack]) -> str | None:
    """The held-out pairs of all stacks as a file, written anew where they changed.

    What one holds out another may have learned from, the other way round: such pairs are left out.
    """
    keys = [key for other in others if (key := _rows_key(other)) is not None]
    if not keys:
        return None
    # named after the rows, so that a plan of unchanged stacks reads none of them
    file = stack.state / "augment" / f"held-out-{blake3_hex(' '.join(keys))[:16]}.jsonl"
    if not file.is_file():
        held = {pair: None for other in others for pair in _pairs(other, HELD_OUT)}
        learned = {pair for other in others for pair in _pairs(other, TRAIN)}
        text = "".join(json.dumps(dict(pair), ensure_ascii=False) + "\n" for pair in held if pair not in learned)
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, text.encode())
    return str(file) if file.stat().st_size else None


def _rows_key(stack: Stack) -> str | None:
    """Which rows the stack's translator was made with; None where it has none."""
    try:
        return str(read_json(stack.state / "stages" / "rows.json")["key"])
    except (OSError, KeyError, ValueError):
        return None


def _pairs(stack: Stack, split: str) -> list[tuple[tuple[str, str], ...]]:
    """A split of the rows that the stack's translator was made with: (language, text) of both sides, in that order."""
    try:
        rows = stack.state / "rows" / str(_rows_key(stack))
        facts = read_json(rows / "facts.json")
        source, target = facts["languages"]
        found = read_split(rows, split)
    except (OSError, KeyError, ValueError):
        return []
    if facts.get("both_ways"):
        begin = prefix(target)
        found = [{**r, "source": r["source"].removeprefix(begin)} for r in found if r["source"].startswith(begin)]
    return [tuple(sorted(((source, row["source"]), (target, row["target"])))) for row in found]


def _translator(folders: list[str]) -> Answer:
    from lamina.contracts.texts import Writing
    from lamina.deployment.compress.quantize import open_served
    from lamina.deployment.texts.opening import open_texts
    from lamina.deployment.texts.writer import primary
    from lamina.kit.tokenizer import open_tokenizer

    models = []
    for folder in map(Path, folders):
        models.append(open_texts(open_served(folder), open_tokenizer(folder), folder, version=folder.name))

    def translate(body: dict[str, Any]) -> dict[str, Any]:
        texts = texts_of(body, _TEXTS)
        wanted = (primary(body["source"]), primary(body["target"]))
        model = next((m for m in models if wanted in [tuple(map(primary, p)) for p in m.abilities.pairs]), None)
        if model is None:
            known = ", ".join(f"{a} to {b}" for m in models for a, b in m.abilities.pairs)
            refused = InputError(
                f"no model translates from {wanted[0]} to {wanted[1]}", hint=f"known: {known or 'none'}"
            )
            return {"refused": told(refused)}
        how = Writing(
            source=wanted[0], target=wanted[1], temperature=float(body["temperature"]), seed=int(body["seed"])
        )
        room = model.context - len(model.tokenizer.framed(prefix(wanted[1])).ids)
        fits = [n for n, ids in enumerate(model.tokenizer.encode_batch(texts)) if 0 < len(ids) < room]
        said = model.translate([texts[n] for n in fits], how).rows if fits else ()
        found = list(texts)
        for n, row in zip(fits, said, strict=True):
            found[n] = row.text
        return {"texts": found}

    return translate


if __name__ == "__main__":
    answer_until_parent_ends("/translate", _translator)
