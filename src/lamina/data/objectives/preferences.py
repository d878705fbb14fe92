"""Answers that people preferred or judged, as batches: for DPO in pairs, for KTO one by one.

Rows are in TRL's schemas (``contracts.chat.DPO``, ``KTO``): conversations that are rendered by the model's template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from lamina.contracts.chat import Message
from lamina.contracts.tokens import IGNORED, Batch, Rendered, Tokenizer
from lamina.data.replay import rendered_answer
from lamina.kit.errors import ConfigError, InputError

Kind = Literal["dpo", "kto"]
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers as token ids, in groups that belong together.

    DPO: groups of two, the preferred one first. KTO: groups of two, the judged answer and one to another prompt;
    ``good`` (G,) is what was said of the first. ``dropped``: rows that were too long, or taught nothing.
    """

    kind: Kind
    rows: tuple[Rendered, ...]
    good: NDArray[np.bool_]
    dropped: int

    @property
    def digest(self) -> str:
        """Of the tokens and of what is learned of them."""
        total = blake3(self.kind.encode())
        for row in self.rows:
            total.update(np.array([len(row.ids), *row.ids], "<i8").tobytes())
            total.update(np.array(row.learned, np.uint8).tobytes())
        return total.update(self.good.tobytes()).hexdigest(length=16)


def answers(kind: Kind, rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, *, length: int) -> Answers:
    """The ``rows`` of a snapshot rendered; what is longer than ``length`` tokens is left out.

    Raises ``InputError`` where nothing is left, or for KTO less than two rows.
    """
    found: list[Rendered] = []
    good: list[bool] = []
    asked: list[tuple[Mapping[str, Any], Rendered]] = []
    seen = 0
    for row in rows:
        seen += 1
        names = ("chosen", "rejected") if kind == "dpo" else ("completion",)
        rendered = [_rendered(tokenizer, row["prompt"], row[name], length) for name in names]
        kept = [one for one in rendered if one is not None]
        if len(kept) < len(names):
            continue
        if kind == "dpo":
            found += kept
            good.append(True)
        else:
            asked.append((row, kept[0]))
    if kind == "kto":
        for number, (row, judged) in enumerate(asked):
            other = _other(asked, number, tokenizer, length)
            if other is not None:
                found += [judged, other]
                good.append(bool(row["label"]))
    if not found:
        raise InputError(
            f"none of {seen} rows can be learned from", where=kind, hint="KTO needs answers to two prompts or more"
        )
    return Answers(kind, tuple(found), np.array(good, np.bool_), seen - len(good))


def _rendered(tokenizer: Tokenizer, prompt: Sequence[Any], answer: Sequence[Any], length: int) -> Rendered | None:
    turns = [Message(turn["role"], turn["content"]) for turn in (*prompt, *answer)]
    found = rendered_answer(tokenizer, turns, len(prompt))
    return found if found is not None and len(found.ids) <= length + 1 else None


def _other(
    asked: Sequence[tuple[Mapping[str, Any], Rendered]], number: int, tokenizer: Tokenizer, length: int
) -> Rendered | None:
    """The prompt of a row with the answer to the next one that asked something else."""
    prompt = asked[number][0]["prompt"]
    for step in range(1, len(asked)):
        row = asked[(number + step) % len(asked)][0]
        if row["prompt"] != prompt:
            return _rendered(tokenizer, prompt, row["completion"], length)
    return None


class PreferenceBatches:
    """An endless ``contracts.tokens.BatchStream`` over ``answers``: each group once an epoch, in an order of its own.

    ``references`` (R,): the rows' log-probabilities by the reference model. A batch holds ``groups`` groups, padded on
    the right to its longest row.
    """

    def __init__(self, answers: Answers, references: NDArray[np.float64], *, groups: int, seed: int) -> None:
        if groups < 1:
            raise ConfigError(f"a batch of {groups} groups of answers cannot be", where="batches")
        if len(references) != len(answers.rows):
            raise InputError(f"{len(references)} log-probabilities for {len(answers.rows)} answers", where="batches")
        self._answers, self._references = answers, references
        self._groups, self._seed, self._drawn = groups, seed, 0

    @property
    def groups_per_epoch(self) -> int:
        """Pairs, or judged answers."""
        return len(self._answers.good)

    def __next__(self) -> Batch:
        chosen = [self._group(self._drawn + n) for n in range(self._groups)]
        self._drawn += self._groups
        rows = [2 * group + side for group in chosen for side in (0, 1)]
        batch = padded([self._answers.rows[row] for row in rows])
        labels = None
        if self._answers.kind == "kto":
            labels = np.full(len(rows), IGNORED)
            labels[0::2] = self._answers.good[chosen]
        return Batch(**batch, labels=labels, references=self._references[rows])

    def _group(self, number: int) -> int:
        """The group that is drawn as ``number``-th of all."""
        epoch, place = divmod(number, self.groups_per_epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(self.groups_per_epoch)
        return int(order[place])

    def state(self) -> Mapping[str, Any]:
        """Where the stream stands, as JSON."""
        return {"format": _FORMAT, "of": self._identity(), "drawn": self._drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a saved place. Raises ``InputError`` where it was saved over other answers, sizes or seed."""
        if state.get("format") != _FORMAT or state.get("of") != self._identity():
            raise InputError("this place was saved in another stream of batches", hint="start the run afresh")
        self._drawn = int(state["drawn"])

    def _identity(self) -> dict[str, Any]:
        return {"answers": self._answers.digest, "groups": self._groups, "seed": self._seed}


def padded(rows: Sequence[Rendered]) -> dict[str, NDArray[np.int64]]:
    """Inputs, targets, segments and positions (B, T) of conversations, one a row."""
    longest = max(len(row.ids) for row in rows) - 1
    inputs, segments = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest), np.int64)
    targets = np.full((len(rows), longest), IGNORED)
    for n, row in enumerate(rows):
        size = len(row.ids) - 1
        inputs[n, :size], segments[n, :size] = row.ids[:-1], 1
        targets[n, :size] = np.where(row.learned[1:], row.ids[1:], IGNORED)
    positions = np.broadcast_to(np.arange(longest), inputs.shape).copy()
    return {"inputs": inputs, "targets": targets, "segments": segments, "positions": positions}
