"""Evaluations as files: JSON Lines whose keys say what kind of task they are.

| each line | is |
|---|---|
| ``{"good": …, "bad": …, "group": …}``, or BLiMP's ``sentence_good``, ``sentence_bad``, ``UID`` | a minimal pair |
| ``{"context": …, "choices": […], "answer": 0}`` | multiple choice; ``answer`` may be the choice's own text |
| ``{"text": …, "label": …}`` | classification; labels are numbers, or names of the model's classes |
| ``{"source": …, "target": …}`` | translation |
| ``{"a": …, "b": …, "score": 3.5}`` | similarity |
| ``{"text": …}`` | bits per byte of a causal model, masked accuracy of a masked one |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lamina.kit.errors import ConfigError, InputError, NotFoundError
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.evaluate.bits_per_byte import bits_per_byte_score
from lamina.model.evaluate.classification import class_probabilities, classification
from lamina.model.evaluate.embedding import TextEmbedder
from lamina.model.evaluate.likelihood import Likelihoods, kind_of
from lamina.model.evaluate.masked import masked_accuracy
from lamina.model.evaluate.minimal_pairs import MinimalPair, minimal_pairs
from lamina.model.evaluate.multiple_choice import Choice, Normalisation, multiple_choice
from lamina.model.evaluate.score import Asked, Score
from lamina.model.evaluate.similarity import similarity
from lamina.model.evaluate.translation import translate_and_score
from lamina.model.transformer import Transformer

Kind = Literal["minimal pairs", "multiple choice", "classification", "translation", "similarity", "texts"]
_LARGEST = 256 << 20  # bytes of a file
#: The keys that a line must have, the most telling kinds first, and what it becomes.
_KINDS: Mapping[Kind, tuple[str, ...]] = {
    "minimal pairs": ("good", "bad"),
    "multiple choice": ("context", "choices", "answer"),
    "translation": ("source", "target"),
    "similarity": ("a", "b", "score"),
    "classification": ("text", "label"),
    "texts": ("text",),
}
_BLIMP = {"sentence_good": "good", "sentence_bad": "bad", "UID": "group"}


@dataclass(frozen=True, slots=True)
class Task:
    """Items of one ``kind``: ``MinimalPair``, ``Choice``, (text, label), (source, target), (a, b, score) or text."""

    name: str
    kind: Kind
    items: tuple[Any, ...]

    def measure(
        self,
        model: Transformer,
        tokenizer: ModelTokenizer,
        *,
        normalisation: Normalisation = "byte",
        template: str = "{context} {choice}",
        classes: Sequence[str] | None = None,
        items: Sequence[Any] | None = None,
    ) -> list[Score]:
        """The task's scores; several of classification (four) and translation (BLEU, chrF).

        ``normalisation`` and ``template`` are of multiple choice; ``classes``: the names of a classifier's classes, in
        order; ``items``: others of the same kind, such as perturbed ones. Raises ``ConfigError`` where the model cannot
        do the task.
        """
        items = self.items if items is None else items
        if self.kind == "minimal pairs":
            return [minimal_pairs(Likelihoods(model, tokenizer), items, name=self.name)]
        if self.kind == "multiple choice":
            asked = Likelihoods(model, tokenizer)
            return [multiple_choice(asked, items, normalisation=normalisation, template=template, name=self.name)]
        if self.kind == "translation":
            return list(translate_and_score(model, tokenizer, items, name=self.name).scores)
        if self.kind == "similarity":
            return [similarity(TextEmbedder(model, tokenizer).embed, items, name=self.name)]
        if self.kind == "classification":
            return self._classify(model, tokenizer, items, classes)
        if kind_of(model) == "masked":
            return [masked_accuracy(model, tokenizer, items, name=self.name)]
        if kind_of(model) == "encoder-decoder":
            raise ConfigError("an encoder-decoder has no likelihood of texts without a source", where=self.name)
        return [bits_per_byte_score(model, tokenizer, items, name=self.name)]

    def _classify(
        self, model: Transformer, tokenizer: ModelTokenizer, items: Sequence[Any], classes: Sequence[str] | None
    ) -> list[Score]:
        texts = [text for text, _ in items]
        found = class_probabilities(model, tokenizer, texts)
        names = list(classes) if classes is not None else [str(n) for n in range(found.shape[1])]
        if len(names) != found.shape[1]:
            raise ConfigError(f"{len(names)} names for {found.shape[1]} classes", where=self.name)
        for n, (_, label) in enumerate(items):
            if label not in names:
                raise InputError(f"the label '{label}' is none of {', '.join(names)}", where=f"{self.name}: item {n}")
        framed = tokenizer.frame.around((-1,)).ids
        begin = " ".join("…" if i == -1 else tokenizer.token_of(i) or str(i) for i in framed) or "nothing"
        asked = Asked(template="the text alone", begin=begin, normalisation="the likeliest class")
        labels = [names.index(label) for _, label in items]
        return list(classification(found, labels, asked=asked, items=texts, name=self.name).scores)


def read_task(file: Path) -> Task:
    """The task in a JSON Lines ``file``, named after it; the first line's keys say its kind.

    Raises ``NotFoundError``, or ``InputError`` naming the line that is not of that kind.
    """
    if not file.is_file():
        raise NotFoundError("there is no such file", where=str(file))
    if file.stat().st_size > _LARGEST:
        raise InputError(f"is larger than {_LARGEST >> 20} MiB", where=str(file))
    kind: Kind | None = None
    items: list[Any] = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"is not JSON: {error}", where=where) from None
        if not isinstance(row, dict):
            raise InputError("is not an object", where=where)
        row = {_BLIMP.get(key, key): value for key, value in row.items()}
        kind = kind or _kind(row, where)
        missing = [key for key in _KINDS[kind] if key not in row]
        if missing:
            raise InputError(f"has no {missing[0]!r}, as {kind} need", where=where)
        items.append(_MAKE[kind](row, where))
    if kind is None:
        raise InputError("holds no items", where=str(file))
    return Task(file.stem, kind, tuple(items))


def _kind(row: Mapping[str, Any], where: str) -> Kind:
    for kind, keys in _KINDS.items():
        if all(key in row for key in keys):
            return kind
    wanted = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in _KINDS.items())
    raise InputError(f"the keys {', '.join(row) or '(none)'} are of no task", where=where, hint=wanted)


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise InputError(f"'{key}' must be text, not {type(value).__name__}", where=where)
    return value


def _pair(row: Mapping[str, Any], where: str) -> MinimalPair:
    return MinimalPair(_text(row, "good", where), _text(row, "bad", where), str(row.get("group", "")))


def _choice(row: Mapping[str, Any], where: str) -> Choice:
    choices, answer = row["choices"], row["answer"]
    if not isinstance(choices, list) or not all(isinstance(c, str) and c for c in choices) or len(choices) < 2:
        raise InputError("'choices' must be a list of at least two texts", where=where)
    if isinstance(answer, str) and choices.count(answer) == 1:
        answer = choices.index(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise InputError(f"the answer {answer!r} is none of the choices (counted from 0)", where=where)
    cluster = row.get("cluster")
    return Choice(_text(row, "context", where), tuple(choices), answer, None if cluster is None else str(cluster))


def _likeness(row: Mapping[str, Any], where: str) -> tuple[str, str, float]:
    score = row["score"]
    if not isinstance(score, int | float) or isinstance(score, bool):
        raise InputError("'score' must be a number", where=where)
    return _text(row, "a", where), _text(row, "b", where), float(score)


_MAKE: Mapping[Kind, Callable[[Mapping[str, Any], str], Any]] = {
    "minimal pairs": _pair,
    "multiple choice": _choice,
    "translation": lambda row, where: (_text(row, "source", where), _text(row, "target", where)),
    "similarity": _likeness,
    "classification": lambda row, where: (_text(row, "text", where), str(row["label"])),
    "texts": lambda row, where: _text(row, "text", where),
}
