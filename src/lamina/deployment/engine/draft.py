"""A small model that guesses what the large one will say next, while that pays.

Speculative decoding (Leviathan et al. 2023, arXiv 2211.17192) with greedy guesses: the large model checks them in one
step (see ``speculation``), so that answers stay what they are. Unlike what is looked up, these guesses take time, and
the small model must read a sequence before it can guess: both count. It keeps account in steps' time of the large
model: what it saves is its credit, and without credit it rests, so that a draft that does not pay costs a fiftieth of
the time at most, beyond the credit that it begins with.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from lamina.deployment.engine.cache import Cache
from lamina.deployment.engine.place import Place
from lamina.deployment.engine.runner import Kernels, Runner
from lamina.deployment.engine.speculation import SHORTER, Guesser, Speculation, settled
from lamina.model.transformer import Transformer

_LONGEST = 4096  # tokens of a sequence that it follows, which bound its keys and values
_BLOCK = 16  # tokens
_FEW = 8  # tokens that it reads when it guesses: what a step brings, at most
_PIECE = 16  # of what it has to read before, in a step, at least
_CALLS = 3  # by which it is timed at first; the best counts
_CREDIT, _MOST_CREDIT = 64.0, 1024.0  # steps' time that it may lose: at first, and after it saved some
_ALLOWED = 0.02  # of the time without its guesses, added to its credit up to what it had at first
_FADES = 1 - 1 / 1024  # in a step without its guesses: what they cost may have changed, and is tried again
_PLAIN = 32  # of so many steps one is taken without: so that what it takes stays known
_log = logging.getLogger(__name__)


class Draft:
    """``model`` (taken over), with keys and values of its own for one sequence at a time; used on one thread.

    ``vocabulary``: ids that the large model knows; ``context``: tokens of a sequence, at most. The others are as the
    large model has them. Raises ``ConfigError`` where the model cannot be served.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        vocabulary: int,
        context: int | None = None,
        kernels: Kernels = "auto",
        cache: Cache = None,
        deterministic: bool = False,
    ) -> None:
        self.context = min(model.spec.max_positions, context or _LONGEST, _LONGEST)
        self._blocks = range(-(-self.context // _BLOCK))
        sizes: dict[str, Any] = {"blocks": len(self._blocks), "block_tokens": _BLOCK, "most": 1}
        self._runner = Runner(
            model, **sizes, context=self.context, kernels=kernels, cache=cache, sole=True, deterministic=deterministic
        )
        self._known = model.spec.stack.embeddings.vocabulary
        self._vocabulary = vocabulary
        self._whose: object = None
        self._root = b""
        self._held: list[int] = []  # tokens whose keys and values it has
        self._same = 0  # of them, how many stand in the sequence
        self._most_held = 0
        self._reading = _best(lambda: self._read([0] * min(_PIECE, self.context), 0)) / min(_PIECE, self.context)
        self._guessing = _best(lambda: self._decode(0, 0))
        self.credit = _CREDIT  # in steps of the large model without guesses
        self.failed = False

    def follow(self, whose: object, tokens: Sequence[int], root: bytes) -> int:
        """Turn to the sequence ``tokens`` of ``whose``, which only grows; how many of them are still to be read.

        The longest common beginning with the last sequence is kept where both have the same ``root`` (see
        ``BlockManager.keys``), or nobody could trust that its waiting does not tell what others asked.
        """
        if self._whose is not whose:
            if not root or root != self._root:
                self._held.clear()
            self._whose, self._root, self._same = whose, root, 0
        most = min(len(self._held), len(tokens) - 1)
        same = min(self._same, most)
        while same < most and self._held[same] == tokens[same]:
            same += 1
        self._same = same
        del self._held[same:]  # wrong guesses; what lies in the cache behind is written over
        return len(tokens) - same

    def read(self, tokens: Sequence[int], count: int) -> float:
        """Read the next ``count`` of the followed ``tokens``; the seconds that it took."""
        begun = time.perf_counter()
        piece = self._its_own(tokens[self._same : self._same + count])
        self._runner.prefill(piece, Place(self._blocks, self._same), scores=False)
        self._hold(tokens[self._same : self._same + count])
        seconds = time.perf_counter() - begun
        self._reading = settled(self._reading, seconds / count)
        return seconds

    def guess(self, tokens: Sequence[int], most: int) -> list[int]:
        """``most`` tokens that may follow the followed ``tokens``, which have room in its context but for the last."""
        begun = time.perf_counter()
        fresh = tokens[self._same :]
        found = [self._decode(fresh[0], self._same) if len(fresh) == 1 else self._read(fresh, self._same)]
        self._hold(fresh)
        while len(found) < most:
            self._held.append(found[-1])
            found.append(self._decode(found[-1], len(self._held) - 1))
        self._most_held = max(self._most_held, len(self._held))
        seconds = time.perf_counter() - begun
        self._guessing = settled(self._guessing, seconds / most)
        return found

    def reading(self, tokens: int) -> float:
        """Seconds that it takes to read so many."""
        return tokens * self._reading

    def guessing(self, guesses: int) -> float:
        """Seconds that so many take."""
        return guesses * self._guessing

    def wait(self) -> None:
        """The large model took a step without guesses: it may lose some more, and what they cost is less sure."""
        self.credit = max(self.credit, min(_CREDIT, self.credit + _ALLOWED))
        self._guessing *= _FADES

    def use_threads(self, count: int) -> None:
        """See ``Runner.use_threads``; torch's own are the large model's to set."""
        self._runner.use_threads(count, torch_too=False)

    @property
    def kernels(self) -> str:
        """See ``Runner.kernels``."""
        return self._runner.kernels

    @property
    def coming(self) -> int:
        """Bytes that its keys and values may still take."""
        return (self.context - self._most_held) * self._runner.token_bytes

    def close(self) -> None:
        """Give its memory back."""
        self._runner.close()

    def _hold(self, tokens: Sequence[int]) -> None:
        self._held += tokens
        self._same = len(self._held)
        self._most_held = max(self._most_held, self._same)

    def _read(self, tokens: Sequence[int], stored: int) -> int:
        scores = self._runner.prefill(self._its_own(tokens), Place(self._blocks, stored), scores=True)
        assert scores is not None  # they were asked for
        return int(scores[: self._vocabulary].argmax())

    def _decode(self, token: int, stored: int) -> int:
        scores = self._runner.decode(self._its_own([token]), [Place(self._blocks, stored)])[0]
        return int(scores[: self._vocabulary].argmax())

    def _its_own(self, tokens: Sequence[int]) -> list[int]:
        """Ids that only the large model has fill up its table; none of them has a meaning."""
        return [token if token < self._known else 0 for token in tokens]


class DraftGuesser(Guesser):
    """What ``draft`` would say. ``root``: see ``Draft.follow``; ``costs``: of the large model's steps."""

    lengths = SHORTER

    def __init__(self, tokens: Sequence[int], draft: Draft, costs: Speculation, root: bytes) -> None:
        super().__init__(tokens)
        self._draft, self._costs, self._root = draft, costs, root
        self._asked = 0

    def guess(self, most: int) -> list[int]:
        """As in general; a fault ends the draft's use, not the answer."""
        draft = self._draft
        try:
            found = [] if draft.failed else super().guess(most)
        except Exception:
            _log.exception("the draft model failed: answers are written without it")
            draft.failed, found = True, []
        return found

    def cost(self, count: int) -> float:
        """Seconds that ``count`` guesses take before they are checked."""
        return self._draft.guessing(count)

    def learn(self, guessed: int, right: int) -> None:
        """As in general; what was saved is the draft's credit, what was lost goes off it."""
        super().learn(guessed, right)
        self._draft.credit = min(_MOST_CREDIT, self._draft.credit + self._costs.saved(guessed, right, self))

    def _found(self, most: int) -> list[int]:
        draft, tokens = self._draft, self._tokens
        most = min(most, draft.context + 1 - len(tokens))
        self._asked += 1
        if most < 1 or self._asked % _PLAIN == 0:
            return []
        behind = draft.follow(self, tokens, self._root)
        if self._costs.steps(draft.reading(behind)) > draft.credit:
            return []
        if behind <= _FEW:
            return draft.guess(tokens, most)
        # A step in which it reads takes twice as long, about: whoever waits for tokens gets them.
        piece = max(_PIECE, int(1 / (self._costs.steps(draft.reading(1)) or 1.0)))
        draft.credit -= self._costs.steps(draft.read(tokens, min(piece, behind - 1)))
        return []


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls."""
    seconds = []
    for _ in range(_CALLS):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
