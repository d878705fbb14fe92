"""A Lamina model as EleutherAI's lm-evaluation-harness wants one: three methods, and every task of the harness runs.

    import lm_eval
    from lamina.model.evaluate.harness import open_for_harness

    model = open_for_harness(Path("models/mine"))
    lm_eval.simple_evaluate(model=model, tasks=["arc_easy"])

The harness is no dependency: ``pip install lm-eval`` where it is to run. Its chat templates are not used: text never
becomes a control token here. Its scores and ours differ in ties: the harness gives them to the first choice.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lamina.kit.errors import ConfigError, InputError, MissingExtraError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.model.checkpoint import open_model
from lamina.model.evaluate.bits_per_byte import bits_per_byte
from lamina.model.evaluate.likelihood import Likelihoods
from lamina.model.generate import greedy
from lamina.model.search import translate
from lamina.model.transformer import Transformer

_MAX_TOKENS = 256  # of an answer, where the task does not say; the harness' own models take as many


class Request(Protocol):
    """What the harness asks: ``lm_eval.api.instance.Instance``."""

    @property
    def args(self) -> tuple[Any, ...]:
        """What the method takes."""
        ...


class HarnessModel:
    """The three methods of ``lm_eval.api.model.LM`` over a model of any architecture, one process, no sampling.

    Texts begin as in our own scores (``Likelihoods``); a context that is too long loses its beginning, as the harness
    has it.
    """

    def __init__(self, model: Transformer, tokenizer: ModelTokenizer) -> None:
        super().__init__()
        self._likelihoods = Likelihoods(model, tokenizer, cut=True)
        self._model, self._tokenizer = model, tokenizer

    @property
    def tokenizer_name(self) -> str:
        """What the harness keys its caches by."""
        return str(self._tokenizer.folder or self._tokenizer.where)

    def loglikelihood(self, requests: Sequence[Request], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(Σ ln p, whether greedy search would write it) of each request's (context, continuation)."""
        found = self._likelihoods.continuations([(str(r.args[0]), str(r.args[1])) for r in requests])
        return [(one.value, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests: Sequence[Request], disable_tqdm: bool = False) -> list[float]:
        """Σ ln p of each request's whole (text,), by the windows of ``bits_per_byte``. Causal models only."""
        if self._likelihoods.kind != "causal":
            raise ConfigError("only a causal model has a likelihood of text", where="loglikelihood_rolling")
        texts = [str(r.args[0]) for r in requests]
        if not any(texts):
            return [0.0] * len(texts)
        return [-nats for nats, _ in bits_per_byte(self._model, self._tokenizer, texts).per_document]

    def generate_until(self, requests: Sequence[Request], disable_tqdm: bool = False) -> list[str]:
        """The greedy answer to each request's (context, settings), up to the first of the texts in ``until``.

        Raises ``InputError`` where the settings ask for sampling, ``ConfigError`` for a masked model.
        """
        if self._likelihoods.kind == "masked":
            raise ConfigError("a masked language model writes no text", where="generate_until")
        return [self._answer(str(r.args[0]), r.args[1] if len(r.args) > 1 else {}) for r in requests]

    def _answer(self, context: str, settings: Mapping[str, Any]) -> str:
        if settings.get("do_sample") or settings.get("temperature"):
            raise InputError(
                "answers are greedy here", where="generate_until", hint="do_sample: false, temperature: 0 in the task"
            )
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        named = (settings.get(key) for key in ("max_gen_toks", "max_new_tokens", "max_tokens"))
        room = int(next((n for n in named if n is not None), _MAX_TOKENS))
        text = self._tokenizer.decode(self._ids(context, stops, room))
        ends = [text.index(stop) for stop in stops if stop and stop in text]
        return text[: min(ends)] if ends else text

    def _ids(self, context: str, stops: Sequence[str], room: int) -> list[int]:
        longest, ends = self._model.spec.max_positions, self._tokenizer.end_ids
        if self._likelihoods.kind == "encoder-decoder":
            [source] = self._likelihoods.sources([context])
            return translate(self._model, [source], end=ends[0], max_tokens=min(room, longest))[0]
        prompt = self._likelihoods.prompt(context)
        room = min(room, max(longest - len(prompt), longest // 2))  # half of the context is the prompt's
        prompt = prompt[-(longest - room) :]

        def enough(found: list[int]) -> bool:
            text = self._tokenizer.decode(found)
            return any(stop and stop in text for stop in stops)

        return greedy(self._model, prompt, end=ends, max_tokens=room, stop=enough if stops else None)


def for_harness(model: Transformer, tokenizer: ModelTokenizer) -> HarnessModel:
    """The model as an ``lm_eval.api.model.LM``. Raises ``MissingExtraError`` where the harness is not installed."""
    try:
        base = importlib.import_module("lm_eval.api.model").LM
    except ImportError as error:
        raise MissingExtraError("lm-evaluation-harness is not installed", hint="pip install lm-eval") from error
    kind = type("LaminaHarnessModel", (HarnessModel, base), {})
    made: HarnessModel = kind(model, tokenizer)
    return made


def open_for_harness(folder: Path) -> HarnessModel:
    """``for_harness`` of the model in a Hugging Face folder."""
    return for_harness(open_model(folder), open_tokenizer(folder))
