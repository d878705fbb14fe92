"""The work of a step: tokens computed, drawn and handed on. A request that fails, fails alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from torch import Tensor

from lamina.contracts.inference import Chunk
from lamina.deployment.engine.blocks import BlockManager
from lamina.deployment.engine.draft import Draft, DraftGuesser
from lamina.deployment.engine.drawing import draw_together
from lamina.deployment.engine.lifecycle import Teller
from lamina.deployment.engine.ngrams import Ngrams
from lamina.deployment.engine.outbox import Outbox
from lamina.deployment.engine.place import Piece
from lamina.deployment.engine.runner import Runner
from lamina.deployment.engine.sampling import Drawn
from lamina.deployment.engine.scheduler import Step
from lamina.deployment.engine.sequence import Sequence, State
from lamina.deployment.engine.speculation import Guesser, Lookup, Recall, Speculation
from lamina.kit.errors import LaminaError

_log = logging.getLogger(__name__)
End = Callable[[Sequence, Chunk | LaminaError], None]


class Stepper:
    """Performs steps over ``runner`` and ``blocks``, on the engine's thread; ``end`` takes a sequence out.

    ``rows``: sequences that are decoded in one product. It and ``threads`` may be changed between steps. ``ngrams``,
    ``draft``: by which ``speculate`` guesses, too; the draft is taken over.
    """

    def __init__(
        self,
        runner: Runner,
        blocks: BlockManager,
        teller: Teller,
        outbox: Outbox,
        *,
        rows: int,
        end: End,
        speculate: bool = False,
        ngrams: Ngrams | None = None,
        draft: Draft | None = None,
    ) -> None:
        self._runner = runner
        self._blocks = blocks
        self._teller, self._outbox = teller, outbox
        self.rows = rows
        self._loud = logging.WARNING
        self.threads: tuple[int, int] | None = None  # of tokens and of prompts; None: as torch has it
        self._using: int | None = None
        self._end = end
        self._speculation = Speculation() if speculate else None
        self._ngrams, self._draft = ngrams, draft

    @property
    def coming(self) -> int:
        """Bytes that the draft's keys and values may still take."""
        return 0 if self._draft is None else self._draft.coming

    def close(self) -> None:
        """Give the memory of the models back."""
        self._runner.close()
        if self._draft is not None:
            self._draft.close()

    def perform(self, step: Step) -> None:
        """Compute what ``step`` says, and put the chunks that come of it into the outbox."""
        if not (step.prefill and len(step.decode) + len(step.prefill) > 1 and self._together(step)):
            self._apart(step)

    def _together(self, step: Step) -> bool:
        """All of a step in one call, whose weights are read once; False where that is not possible."""
        pieces = [Piece(s.tokens[-1:], s.place) for s in step.decode]
        pieces += [Piece(s.tokens[s.computed : end], s.place, end == len(s.tokens)) for s, end in step.prefill]
        if not self._runner.mixes(piece.place for piece in pieces):
            return False
        self._use(1)
        try:
            scores = self._runner.together(pieces)
        except Exception:  # one of them may be the cause: each by itself
            _log.log(self._loud, "answers and prompts are computed one by one", exc_info=True)
            self._loud = logging.DEBUG  # it may happen in every step
            return False
        complete = [sequence for sequence, end in step.prefill if end == len(sequence.tokens)]
        for sequence in step.decode:
            sequence.computed += 1
        for sequence, end in step.prefill:
            self._stored(sequence, end)
        if len(scores):
            self._draw([*step.decode, *complete], scores)
        return True

    def _apart(self, step: Step) -> None:
        if step.decode:
            self._use(0)
        if self._speculation is not None and len(step.decode) == 1:
            self._guard(step.decode[0], partial(self._decode_one, step.decode[0], self._speculation))
        else:
            for start in range(0, len(step.decode), self.rows):
                self._decode(step.decode[start : start + self.rows])
        if step.prefill:
            self._use(1)
        for sequence, end in step.prefill:
            self._guard(sequence, partial(self._prefill, sequence, end))

    def _use(self, what: int) -> None:
        """The threads of tokens (0) or prompts (1)."""
        if self.threads is not None and self.threads[what] != self._using:
            self._using = self.threads[what]
            self._runner.use_threads(self._using)
            if self._draft is not None:
                self._draft.use_threads(self._using)

    def expire(self, sequence: Sequence) -> None:
        """End an answer whose time is up."""
        self._guard(sequence, lambda: self._end(sequence, sequence.expire()))

    def _decode(self, batch: list[Sequence]) -> None:
        try:
            scores = self._runner.decode([s.tokens[-1] for s in batch], [s.place for s in batch])
        except Exception:
            if len(batch) == 1:
                self._fail(batch[0])
                return
            for sequence in batch:  # one of them may be the cause: the others go on
                self._decode([sequence])
            return
        for sequence in batch:
            sequence.computed += 1
        self._draw(batch, scores)

    def _decode_one(self, sequence: Sequence, speculation: Speculation) -> None:
        """A step of the only sequence that decodes: with guesses where they pay."""
        guesser, guesses = self._guesses(sequence, speculation)
        begun = time.perf_counter()
        if guesser is None:
            self._decode([sequence])
            speculation.plain(time.perf_counter() - begun)
            if self._draft is not None:
                self._draft.wait()
            return
        scores = self._runner.check([sequence.tokens[-1], *guesses], sequence.place)
        right = 0
        for row, guess in zip(scores, [*guesses, None], strict=True):
            sequence.computed += 1
            self._draw([sequence], row[None])
            if sequence.state is not State.RUNNING or sequence.tokens[-1] != guess:
                break
            right += 1
        speculation.checked(len(guesses), time.perf_counter() - begun)
        guesser.learn(len(guesses), right)
        if not speculation.length(guesser):
            guesser.rest()

    def _guesses(self, sequence: Sequence, speculation: Speculation) -> tuple[Guesser | None, list[int]]:
        """Tokens that may follow, with blocks for them, and whose guess they are; none where that does not pay."""
        if not sequence.guessers:
            sequence.guessers = tuple(self._guessers(sequence, speculation))
        left = sequence.max_tokens - sequence.generated - 1
        for guesser in sequence.guessers:
            most = min(speculation.length(guesser), left)
            guesses = guesser.guess(most) if most > 0 else []
            if guesses and self._blocks.extend(sequence.blocks, len(sequence.tokens) + len(guesses)):
                return guesser, guesses
        return None, []

    def _guessers(self, sequence: Sequence, speculation: Speculation) -> Iterator[Guesser]:
        """Those of a sequence, the cheapest first."""
        yield Lookup(sequence.tokens)
        if self._ngrams is not None:
            yield Recall(sequence.tokens, self._ngrams)
        if self._draft is not None:
            yield DraftGuesser(sequence.tokens, self._draft, speculation, b"".join(sequence.keys[:1]))

    def _prefill(self, sequence: Sequence, end: int) -> None:
        complete = end == len(sequence.tokens)
        scores = self._computed(sequence, end, complete)
        self._stored(sequence, end)
        if scores is not None:
            self._draw([sequence], scores[None])

    def _stored(self, sequence: Sequence, end: int) -> None:
        """The keys and values of ``end`` tokens are there: others may find the prompt's."""
        sequence.computed = end
        full = min(end, sequence.prompt_tokens) // self._blocks.block_tokens
        # Blocks of answers are not shared: they come from the decoding kernels, whose rounding differs.
        for index in range(sequence.remembered, full):
            self._blocks.remember(sequence.blocks[index], sequence.keys[index])
        sequence.remembered = max(sequence.remembered, full)

    def _computed(self, sequence: Sequence, end: int, complete: bool) -> Tensor | None:
        """The scores after ``end`` tokens of a ``complete`` sequence. Where bits count, what was drawn before the
        sequence was preempted goes the way that it went then."""
        start, tokens = sequence.computed, sequence.tokens
        drawn = max(start, min(end, sequence.prompt_tokens)) if self._runner.exact else end
        scores = None
        if start < drawn:
            scores = self._runner.prefill(tokens[start:drawn], sequence.place, scores=complete and drawn == end)
        for at in range(drawn, end):
            scores = self._runner.decode([tokens[at]], [replace(sequence.place, stored=at)])[0]
        return scores if complete else None

    def _draw(self, batch: list[Sequence], scores: Tensor) -> None:
        """The next token of each sequence, from its row of ``scores`` (B, V)."""
        try:
            drawn = draw_together(
                scores, [s.sampler for s in batch], [len(s.tokens) for s in batch], [s.adjust for s in batch]
            )
        except Exception:
            if len(batch) == 1:
                self._fail(batch[0])
                return
            for row, sequence in enumerate(batch):  # one of them may be the cause: the others go on
                self._draw([sequence], scores[row : row + 1])
            return
        for sequence, found in zip(batch, drawn, strict=True):
            self._guard(sequence, partial(self._take, sequence, found))

    def _take(self, sequence: Sequence, drawn: Drawn | Exception) -> None:
        if isinstance(drawn, Exception):
            raise drawn
        self._teller.came(sequence)
        chunk = sequence.take(drawn, self._teller.token)
        if sequence.reason is None:
            self._outbox.put(sequence, chunk)
        else:
            self._end(sequence, chunk)

    def _guard(self, sequence: Sequence, work: Callable[[], None]) -> None:
        """Do ``work``; its failure is this sequence's alone."""
        try:
            work()
        except LaminaError as error:
            self._end(sequence, error)
        except Exception:
            self._fail(sequence)

    def _fail(self, sequence: Sequence) -> None:
        _log.exception("request %s failed", sequence.id)
        self._end(sequence, LaminaError("the model failed while it answered this request"))
