"""What an encoder-decoder says: greedy search, beam search as ``transformers`` has it, or drawing.

Beam search with length normalisation (Wu et al. 2016, arXiv 1609.08144, without coverage), the end of the search and
the ban on repeated n-grams (Paulus et al. 2017, arXiv 1705.04304) token for token as its ``generate`` has them.
Shapes: N sources, K beams, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lamina.kit.errors import ConfigError
from lamina.model.computing import Computing, PlainComputing
from lamina.model.likeliest import likeliest
from lamina.model.transformer import Transformer

_NEVER = -1.0e9  # what transformers adds to the score of what must not be taken
EarlyStopping = bool | Literal["never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How the answer is looked for; the names are those of ``transformers``' ``generation_config``.

    ``num_beams`` 1 is greedy search. A hypothesis' score is its log-probability divided by its length **
    ``length_penalty``. ``early_stopping``: True ends a search at its ``num_beams``-th finished hypothesis, False when
    the best unfinished one as it stands cannot reach the worst finished one, "never" when it could not even at its
    longest. ``suppressed`` tokens are never said; ``forced_end``: the last token that a limit allows is the end.
    """

    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    no_repeat_ngram_size: int = 0
    suppressed: tuple[int, ...] = ()
    forced_end: bool = True


class Said(NamedTuple):
    """An answer without start and end tokens; ``ended``: it has come to its end, and was not cut by a limit."""

    tokens: list[int]
    ended: bool


@dataclass(frozen=True, slots=True)
class Draw:
    """Tokens are drawn at this temperature, above 0, from a generator of the source's own that begins at ``seed``."""

    temperature: float
    seed: int


@torch.inference_mode()
def search(
    model: Transformer,
    sources: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    limits: Sequence[int],
    how: Search | None = None,
    draws: Sequence[Draw | None] | None = None,
    tick: Callable[[], None] | None = None,
    computing: Computing | None = None,
) -> list[Said]:
    """What an encoder-decoder makes of each of ``sources`` (N rows of token ids), each of at most ``limits`` (N,)
    tokens with its end.

    Several sources are computed at once, and one that is done leaves; none changes what another becomes. ``draws`` (N,)
    only with one beam; ``tick`` is called before each step; ``computing``: other than by the model itself. Raises
    ``ConfigError`` for another kind of model.
    """
    how, start = how or Search(), model.spec.start_token
    if model.encoder is None or model.decoder is None or start is None:
        raise ConfigError("only a model with an encoder and a decoder translates", where="search")
    if not sources:
        return []
    device = _device(model)
    computing = PlainComputing(model, sources) if computing is None else computing
    running: _Greedy | _Beams
    if how.num_beams == 1:
        running = _Greedy(start, ends, limits, draws)
    else:
        running = _Beams(start, ends, limits, how, device)
    tokens = torch.full((len(sources) * how.num_beams, 1), start, device=device)
    while True:
        if tick is not None:
            tick()
        scores = computing.scores(tokens)
        whole = None if how.num_beams == 1 else computing.log_sums(scores)
        step = running.advance(_allowed(scores, whole, running, ends, how), whole)
        if step is None:
            return [said for said in running.results if said is not None]
        tokens = step.tokens
        computing.keep(step.rows, step.sources)


def translate(
    model: Transformer,
    sources: Sequence[Sequence[int]],
    *,
    end: int,
    max_tokens: int,
    beams: int = 1,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """``search`` with one end and one limit for all, the tokens alone."""
    how = Search(num_beams=beams, length_penalty=length_penalty)
    return [one.tokens for one in search(model, sources, ends=(end,), limits=[max_tokens] * len(sources), how=how)]


class _Step(NamedTuple):
    """What the next step computes: ``tokens`` (rows, 1); ``rows``: which of the present rows they go on from, where
    that is not each from itself; ``sources``: which of the present sources stay, where some have left."""

    tokens: Tensor
    rows: Tensor | None
    sources: Tensor | None


class _Greedy:
    """The likeliest token of each source, or a drawn one, until its end or limit."""

    def __init__(
        self, start: int, ends: Sequence[int], limits: Sequence[int], draws: Sequence[Draw | None] | None
    ) -> None:
        self.results: list[Said | None] = [None] * len(limits)
        self._start, self._ends = start, frozenset(ends)
        self._live = list(range(len(limits)))
        self._limits = list(limits)
        self._said: list[list[int]] = [[] for _ in limits]
        drawn = draws or [None] * len(limits)
        self._draws = [(d.temperature, torch.Generator().manual_seed(d.seed)) if d else None for d in drawn]

    def before(self) -> list[list[int]]:
        """What each present row has said, with its start."""
        return [[self._start, *self._said[n]] for n in self._live]

    def last(self) -> list[bool]:
        """Whether the next token of each present row is the last that its limit allows."""
        return [len(self._said[n]) + 1 >= self._limits[n] for n in self._live]

    def advance(self, scores: Tensor, whole: Tensor | None = None) -> _Step | None:
        """Take the scores (rows, V) of the next tokens; None: all sources are done."""
        tokens = scores.argmax(-1).tolist()
        stay: list[int] = []
        for row, n in enumerate(self._live):
            if (draw := self._draws[n]) is not None:
                chances = (scores[row].cpu() / draw[0]).softmax(-1)
                tokens[row] = int(torch.multinomial(chances, 1, generator=draw[1]))
            ended = tokens[row] in self._ends
            if not ended:
                self._said[n].append(tokens[row])
            if ended or len(self._said[n]) >= self._limits[n]:
                self.results[n] = Said(self._said[n], ended)
            else:
                stay.append(row)
        if not stay:
            return None
        all_stay = len(stay) == len(self._live)
        self._live = [self._live[row] for row in stay]
        kept = None if all_stay else torch.tensor(stay, device=scores.device)
        return _Step(torch.tensor([[tokens[row]] for row in stay], device=scores.device), kept, kept)


class _Beams:
    """Each source's hypotheses: ``num_beams`` that go on, and the best finished ones."""

    def __init__(
        self, start: int, ends: Sequence[int], limits: Sequence[int], how: Search, device: torch.device
    ) -> None:
        count, self._beams = len(limits), how.num_beams
        self.results: list[Said | None] = [None] * count
        self._start, self._how, self._step = start, how, 0
        self._ends = torch.tensor(list(ends), device=device)
        self._end_set = frozenset(ends)
        self._limits = torch.tensor(list(limits), device=device)
        self._numbers = torch.arange(count, device=device)  # of the sources that still run
        shape = (count, self._beams)
        self._going = torch.zeros((*shape, max(limits)), dtype=torch.int64, device=device)
        self._scores = torch.zeros(shape, device=device)
        self._scores[:, 1:] = _NEVER  # all beams start alike: only the first counts
        self._best = self._going.clone()
        self._lengths = torch.zeros(shape, dtype=torch.int64, device=device)
        self._best_scores = torch.full(shape, _NEVER, device=device)
        self._finished = torch.zeros(shape, dtype=torch.bool, device=device)
        self._hope = torch.ones(
            (count, 1), dtype=torch.bool, device=device
        )  # of something better than what is finished

    def before(self) -> list[list[int]]:
        """What each present row has said, with its start."""
        return [[self._start, *row] for row in self._going[:, :, : self._step].flatten(0, 1).tolist()]

    def last(self) -> list[bool]:
        """Whether the next token of each present row is the last that its limit allows."""
        found: list[bool] = (self._step + 1 >= self._limits).repeat_interleave(self._beams).tolist()
        return found

    def advance(self, scores: Tensor, whole: Tensor | None) -> _Step | None:
        """Take the scores (rows, V) of the next tokens and the logarithms ``whole`` (rows,) of the sums of their
        exponentials; None: all sources are done."""
        assert whole is not None
        sources = len(self._numbers)
        # So many that enough go on where all others end; the likeliest of a source are among those of its beams.
        most = min(max(2, 1 + len(self._ends)) * self._beams, self._beams * scores.shape[1])
        values, ids = likeliest(scores, min(most, scores.shape[1]))
        width = values.shape[1]
        totals = (values - whole[:, None]).view(sources, self._beams, width) + self._scores[:, :, None]
        best, places = totals.flatten(1).topk(most)
        beams, tokens = places // width, ids.view(sources, -1).gather(1, places)
        said = _taken(self._going, beams)
        said[:, :, self._step] = tokens
        self._step += 1
        ending = torch.isin(tokens, self._ends) | (self._step >= self._limits)[:, None]
        onward = best + ending.float() * _NEVER
        chosen = onward.topk(self._beams)[1]
        self._going, self._scores = _taken(said, chosen), onward.gather(1, chosen)
        rows = torch.arange(sources, device=scores.device)[:, None] * self._beams + beams.gather(1, chosen)
        self._finish(said, best, ending)
        return self._next(rows, tokens.gather(1, chosen))

    def _finish(self, said: Tensor, best: Tensor, ending: Tensor) -> None:
        """Take the hypotheses (N, 2 K or more) that have ended among the best finished ones."""
        fresh = ending.clone()
        fresh[:, self._beams :] = False  # the others are there only so that enough go on
        full = self._finished.all(1, keepdim=True) & (self._how.early_stopping is True)
        scores = best / self._step**self._how.length_penalty
        scores = scores + full.float() * _NEVER + (~self._hope).float() * _NEVER + (~fresh).float() * _NEVER
        merged = torch.cat((self._best_scores, scores), dim=1)
        chosen = merged.topk(self._beams)[1]
        lengths = torch.cat((self._lengths, torch.full_like(ending, self._step, dtype=torch.int64)), dim=1)
        self._best = _taken(torch.cat((self._best, said), dim=1), chosen)
        self._best_scores, self._lengths = merged.gather(1, chosen), lengths.gather(1, chosen)
        self._finished = torch.cat((self._finished, fresh), dim=1).gather(1, chosen)
        length = torch.full_like(self._limits, self._step)
        if self._how.early_stopping == "never" and self._how.length_penalty > 0:
            length = self._limits
        possible = self._scores[:, :1] / length[:, None] ** self._how.length_penalty
        worst = torch.where(self._finished, self._best_scores.min(1, keepdim=True)[0], _NEVER)
        self._hope = self._hope & (possible > worst).any(1, keepdim=True)

    def _next(self, rows: Tensor, tokens: Tensor) -> _Step | None:
        """Let the sources go that are done."""
        done = ~self._hope[:, 0] | (self._step >= self._limits)
        if self._how.early_stopping is True:
            done = done | self._finished.all(1)
        if not bool(done.any()):
            return _Step(tokens.view(-1, 1), rows.flatten(), None)
        for n in done.nonzero()[:, 0].tolist():
            ids = self._best[n, 0, : int(self._lengths[n, 0])].tolist()
            ended = bool(ids) and ids[-1] in self._end_set
            self.results[int(self._numbers[n])] = Said(ids[:-1] if ended else ids, ended)
        stay = (~done).nonzero()[:, 0]
        if not len(stay):
            return None
        for name in ("_numbers", "_limits", "_going", "_scores", "_best", "_lengths", "_best_scores"):
            setattr(self, name, getattr(self, name)[stay])
        self._finished, self._hope = self._finished[stay], self._hope[stay]
        return _Step(tokens[stay].view(-1, 1), rows[stay].flatten(), stay)


def _taken(rows: Tensor, chosen: Tensor) -> Tensor:
    """The rows (N, K, L) of ``rows`` (N, K', L) that ``chosen`` (N, K) names."""
    return rows.gather(1, chosen[:, :, None].expand(-1, -1, rows.shape[-1]))


def _allowed(
    scores: Tensor, whole: Tensor | None, running: _Greedy | _Beams, ends: Sequence[int], how: Search
) -> Tensor:
    """``scores`` (rows, V), minus infinity for what must not follow; an end that must follow has probability 1."""
    if how.no_repeat_ngram_size:
        for row, before in enumerate(running.before()):
            banned = _repeating(before, how.no_repeat_ngram_size)
            if banned:
                scores[row, banned] = -torch.inf
    if how.suppressed:
        scores[:, list(how.suppressed)] = -torch.inf
    if how.forced_end and any(last := running.last()):
        rows = torch.tensor(last, device=scores.device)
        scores[rows] = -torch.inf
        scores[rows.nonzero(), list(ends)] = 0.0 if whole is None else whole[rows, None]
    return scores


def _repeating(said: Sequence[int], size: int) -> list[int]:
    """The tokens that would make an n-gram of ``size`` stand a second time in ``said``."""
    head = tuple(said[len(said) - size + 1 :]) if len(said) + 1 >= size else None
    return [said[n + size - 1] for n in range(len(said) - size + 1) if tuple(said[n : n + size - 1]) == head]


def _device(model: Transformer) -> torch.device:
    found: Tensor = next(iter(model.state_dict().values()))
    return found.device
