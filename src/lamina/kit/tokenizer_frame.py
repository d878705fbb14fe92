"""The frame that a model wants round a text or a pair of texts: [CLS] A [SEP] B [SEP] (Devlin et al. 2019), <s> A </s>.

Read from the ``post_processor`` of a ``tokenizer.json``; a tokenizer without one frames with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamina.kit.errors import ModelFileError


@dataclass(frozen=True, slots=True)
class Framed:
    """Ids with their frame; ``kinds[i]``: which text token i belongs to (the embedding of segments), by the model."""

    ids: list[int]
    kinds: list[int]


@dataclass(frozen=True, slots=True)
class _Part:
    """A special token's ids, or the place of text 0 or 1 (``ids`` is None)."""

    ids: tuple[int, ...] | None
    text: int
    kind: int


class Frame:
    """What stands round one text, and round two."""

    def __init__(self, single: Sequence[_Part], pair: Sequence[_Part]) -> None:
        self._single, self._pair = tuple(single), tuple(pair)

    def around(self, ids: Sequence[int], other: Sequence[int] | None = None) -> Framed:
        """``ids``, and those of a second text, in their frame."""
        texts = (ids, () if other is None else other)
        found: list[int] = []
        kinds: list[int] = []
        for part in self._single if other is None else self._pair:
            some = texts[part.text] if part.ids is None else part.ids
            found += some
            kinds += [part.kind] * len(some)
        return Framed(found, kinds)

    @property
    def size(self) -> int:
        """Tokens that the frame of one text adds."""
        return len(self.around(()).ids)


def read_frame(processor: Mapping[str, Any] | None, where: str) -> Frame:
    """The frame of ``tokenizer.json``'s ``post_processor``. Raises ``ModelFileError`` where it is none."""
    try:
        return _read(processor or {})
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelFileError(f"the post-processor is not a usable template: {error!r}", where=where) from error


def _read(processor: Mapping[str, Any]) -> Frame:
    kind = processor.get("type")
    if kind == "Sequence":  # byte-level ones among them only trim offsets
        frames = [p for p in processor["processors"] if p.get("type") != "ByteLevel"]
        if len(frames) > 1:
            raise ValueError("more than one template")
        return _read(frames[0] if frames else {})
    if kind in ("BertProcessing", "RobertaProcessing"):
        first, last = (_Part((int(processor[k][1]),), 0, 0) for k in ("cls", "sep"))
        bert = int(kind == "BertProcessing")
        between = [] if bert else [last]
        second = [*between, _Part(None, 1, bert), _Part(last.ids, 0, bert)]
        return Frame([first, _Part(None, 0, 0), last], [first, _Part(None, 0, 0), last, *second])
    if kind == "TemplateProcessing":
        special = {name: tuple(map(int, token["ids"])) for name, token in processor["special_tokens"].items()}
        return Frame(*([_template_part(p, special) for p in processor[key]] for key in ("single", "pair")))
    if kind in (None, "ByteLevel"):
        return Frame([_Part(None, 0, 0)], [_Part(None, 0, 0), _Part(None, 1, 0)])
    raise ValueError(f"an unknown kind: {kind}")


def _template_part(part: Mapping[str, Any], special: Mapping[str, tuple[int, ...]]) -> _Part:
    if "SpecialToken" in part:
        token = part["SpecialToken"]
        return _Part(special[token["id"]], 0, int(token["type_id"]))
    sequence = part["Sequence"]
    return _Part(None, "AB".index(sequence["id"]), int(sequence["type_id"]))
