"""What a causal model writes while it learns: the same beginnings and the same luck each time, so that what changes is
the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina.kit.log import MetricsWriter, read_metrics
from lamina.kit.progress import Progress
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.generate import drawn, greedy
from lamina.model.train.plan import Plan
from lamina.model.transformer import Transformer

_TIMES = 8  # in a run, where nothing else is said
_TOKENS = 60
_SHOWN = 160  # characters of a line


class Samples:
    """Goes on with each of ``prompts`` before the first step, every ``every`` steps (default: an eighth of the run)
    and after the last; rows ``{"step", "prompt", "text"}`` in the file ``path``, and a line each.

    An observer of ``train``; the time it takes is not among the step's seconds.
    """

    needs_model = True

    def __init__(
        self,
        prompts: Sequence[str],
        tokenizer: ModelTokenizer,
        path: Path,
        *,
        every: int | None = None,
        tokens: int = _TOKENS,
    ) -> None:
        self._prompts, self._tokenizer, self._every, self._tokens = tuple(prompts), tokenizer, every, tokens
        self._rows = MetricsWriter(path)
        self._last = 0  # step that was seen
        self._written = 0

    def begin(self, model: Transformer, step: int, plan: Plan, progress: Progress) -> None:
        """Forget the samples of later steps; of a fresh run, write the first."""
        self._model, self._progress = model, progress
        self._interval = self._every or max(1, -(-plan.steps // _TIMES))
        self._rows.truncate_after(step)
        self._last = step  # a run may be resumed behind its last step
        self._written = max((row["step"] for row in read_metrics(self._rows.path)), default=0)
        if step == 0:
            self._rows.truncate_after(-1)
            self._write(0)

    def see(self, facts: Mapping[str, Any]) -> Mapping[str, str]:
        """Write where it is time."""
        step = self._last = int(facts["step"])
        if step % self._interval == 0:
            self._write(step)
        return {}

    def close(self, *, well: bool) -> None:
        """Of a run that ended well, write the last: the clock may end it before or after its last planned step."""
        if well and self._written != self._last:
            self._write(self._last)

    def _write(self, step: int) -> None:
        self._written = step
        self._model.eval()
        first = self._tokenizer.document_ends[0]
        for number, prompt in enumerate(self._prompts):
            ids = [first, *self._tokenizer.encode(prompt)]
            found = greedy(self._model, ids, end=self._tokenizer.end_ids, max_tokens=self._tokens, choose=drawn(number))
            text = self._tokenizer.decode(found)
            self._rows.write(step, prompt=prompt, text=text)
            line = " ".join(f"{prompt}{text}".split())
            self._progress.say(f"step {step:,}: {line[:_SHOWN]}{'…' if len(line) > _SHOWN else ''}")
