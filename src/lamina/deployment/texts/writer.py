"""Encoder-decoders, served: translations and summaries (arXiv 1706.03762, 1910.10683)."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lamina.contracts.texts import Abilities, Task, Translated, Writing, Written
from lamina.deployment.engine.native.writer import NativeWriter
from lamina.deployment.texts.model import TextModel
from lamina.kit.errors import InputError
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.search import Draw, Said, Search, search
from lamina.model.transformer import Transformer

_PAIR = re.compile(r"translation_([A-Za-z-]+)_to_([A-Za-z-]+)")
_FACTOR, _MORE = 3, 16  # an answer has at most so many times its source's tokens, and so many more
_MOST_BEAMS = 16
_FIELDS = ("num_beams", "length_penalty", "early_stopping", "no_repeat_ngram_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How one task is done: what stands before its text, and what its folder says of the search.

    ``longest``: tokens of an answer, where the folder names a number.
    """

    prefix: str = ""
    how: Search = field(default_factory=Search)
    longest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSettings:
    """What a model's folder says beyond its shape. ``pairs``: how it translates from one language into another;
    ``summary``: how it summarizes; ``plain``: what it does where nothing is said. ``ends``: tokens that end an answer.
    """

    plain: Manner
    pairs: Mapping[tuple[str, str], Manner]
    summary: Manner | None
    ends: tuple[int, ...]


class WriterModel(TextModel):
    """An encoder and a decoder."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: ModelTokenizer,
        abilities: Abilities,
        settings: WriterSettings,
        *,
        version: str,
        queue_tokens: int = 1 << 18,
        native: NativeWriter | None = None,
    ) -> None:
        self._settings = settings
        self._native: NativeWriter | None = native
        super().__init__(
            model,
            tokenizer,
            abilities,
            self._compute,
            version=version,
            batch_tokens=4096,
            queue_tokens=queue_tokens,
        )

    def translate(self, texts: Sequence[str], how: Writing) -> Written:
        """One translation a text. Raises ``InputError`` for a pair of languages that the model does not have."""
        self.needs("translate")
        return self._write(texts, how, self._manner(how))

    def summarize(self, texts: Sequence[str], how: Writing) -> Written:
        """One summary a text."""
        self.needs("summarize")
        return self._write(texts, how, self._settings.summary or self._settings.plain)

    def _manner(self, how: Writing) -> Manner:
        known = self._settings.pairs
        if how.source is None and how.target is None and len(known) <= 1:
            return next(iter(known.values()), self._settings.plain)
        if how.source is not None and how.target is not None:
            for wanted in ((how.source, how.target), (primary(how.source), primary(how.target))):
                for pair, manner in known.items():
                    if tuple(map(str.lower, pair)) == tuple(map(str.lower, wanted)):
                        return manner
        said = f"from {how.source or '?'} to {how.target or '?'}" if how.source or how.target else "that was not named"
        listed = ", ".join(f"{a} to {b}" for a, b in known) or "the model does not say which languages it knows"
        raise InputError(f"{self.version} does not translate {said}", where="source", hint=f"known: {listed}")

    def _write(self, texts: Sequence[str], how: Writing, manner: Manner) -> Written:
        looked = settled(how, manner.how)
        rows, limits = [], []
        for number, text in enumerate(texts):
            if not text.strip():
                raise InputError(f"text {number} is empty", where="input")
            row = self.tokenizer.framed(manner.prefix + text).ids
            self.fit(row, number)
            rows.append(row)
            limits.append(self._limit(len(row), how, manner))
        values = [
            (row, limit, Draw(how.temperature, how.seed + number) if how.temperature else None)
            for number, (row, limit) in enumerate(zip(rows, limits, strict=True))
        ]
        with self.measured(rows) as counts:
            said: list[Said] = self.ask(looked, values, [len(row) * looked.num_beams for row in rows])
            counts += [len(one.tokens) + one.ended for one in said]
        told = tuple(
            Translated(self.tokenizer.decode(one.tokens), count, one.ended)
            for one, count in zip(said, counts, strict=True)
        )
        return Written(version=self.version, prompt_tokens=sum(map(len, rows)), rows=told)

    def _limit(self, tokens: int, how: Writing, manner: Manner) -> int:
        if how.max_tokens is not None:
            if not 0 < how.max_tokens <= self.context:
                what = f"must be from 1 to {self.context}, not {how.max_tokens}"
                raise InputError(what, where="max_tokens")
            return how.max_tokens
        usual = min(_FACTOR * tokens + _MORE, self.context)
        return min(usual, manner.longest) if manner.longest is not None else usual

    def _compute(self, group: Hashable, values: Sequence[Any]) -> Sequence[Any]:
        assert isinstance(group, Search)
        rows, limits, draws = zip(*values, strict=True)
        ends, computing = self._settings.ends, None
        if self._native is not None:
            computing = self._native.begin(rows, group.num_beams, max(limits))
        told: Any = {"ends": ends, "limits": limits, "draws": draws}
        return search(self.model, rows, how=group, tick=self.alive, computing=computing, **told)


def settled(how: Writing, usual: Search) -> Search:
    """The search that a request asks for. Raises ``InputError`` for settings that cannot be."""
    given = {name: getattr(how, name) for name in _FIELDS if getattr(how, name) is not None}
    looked = replace(usual, **given)
    if not 1 <= looked.num_beams <= _MOST_BEAMS:
        raise InputError(f"must be from 1 to {_MOST_BEAMS}, not {looked.num_beams}", where="num_beams")
    if looked.no_repeat_ngram_size < 0:
        raise InputError("must not be below 0", where="no_repeat_ngram_size")
    if how.temperature:
        if how.temperature < 0 or (how.num_beams or 1) > 1:
            raise InputError("drawing is for one beam, at a temperature above 0", where="temperature")
        looked = replace(looked, num_beams=1)
    return looked


def read_settings(
    config: Mapping[str, Any], generation: Mapping[str, Any], named: Mapping[str, Any], tokenizer: ModelTokenizer
) -> WriterSettings:
    """What ``config.json``, ``generation_config.json`` and ``tokenizer_config.json`` (``named``) say.

    Pairs of languages stand as ``transformers`` has them: "translation_en_to_de" in ``task_specific_params`` with the
    prefix of the text (T5), or ``source_lang`` and ``target_lang`` of the tokenizer (Marian).
    """
    general = {**config, **generation}
    ends = general.get("eos_token_id")
    listed = ends if isinstance(ends, list) else [] if ends is None else [ends]
    plain = _manner(general, {})
    tasks = config.get("task_specific_params")
    tasks = tasks if isinstance(tasks, Mapping) else {}
    pairs: dict[tuple[str, str], Manner] = {}
    if isinstance(named.get("source_lang"), str) and isinstance(named.get("target_lang"), str):
        pairs[named["source_lang"], named["target_lang"]] = plain
    for name, params in tasks.items():
        match = _PAIR.fullmatch(name)
        if match and isinstance(params, Mapping):
            pairs[match[1], match[2]] = _manner(general, params)
    summary = tasks.get("summarization")
    return WriterSettings(
        plain=plain,
        pairs=pairs,
        summary=_manner(general, summary) if isinstance(summary, Mapping) else None,
        ends=tuple(int(end) for end in listed) or tokenizer.end_ids[:1],
    )


def tasks_of(settings: WriterSettings) -> tuple[Task, ...]:
    """What it can be asked for: a model that says nothing of itself makes texts of texts, whatever they are."""
    if settings.summary is not None:
        return ("translate", "summarize") if settings.pairs else ("summarize",)
    return ("translate",) if settings.pairs else ("translate", "summarize")


def primary(language: str) -> str:
    """The language of a BCP 47 tag without script and region."""
    return re.split("[-_]", language, maxsplit=1)[0]


def _manner(general: Mapping[str, Any], params: Mapping[str, Any]) -> Manner:
    merged = {**general, **params}
    words = merged.get("bad_words_ids") or ()
    given = {name: merged[name] for name in _FIELDS if merged.get(name) is not None}
    if isinstance(given.get("num_beams"), int):
        given["num_beams"] = min(given["num_beams"], _MOST_BEAMS)
    return Manner(
        prefix=str(params.get("prefix") or ""),
        how=Search(
            **given,
            suppressed=tuple(int(word[0]) for word in words if isinstance(word, list) and len(word) == 1),
            forced_end=merged.get("forced_eos_token_id") is not None,
        ),
        longest=_longest(merged.get("max_length"), merged.get("max_new_tokens")),
    )


def _longest(length: object, new: object) -> int | None:
    """Tokens of an answer, by ``max_new_tokens`` or else ``max_length``; None: nobody has said anything."""
    if isinstance(new, int) and new > 0:
        return new
    # transformers counts the start token; 20 is what it writes where nobody has said anything
    return length - 1 if isinstance(length, int) and length not in (0, 1, 20) else None
