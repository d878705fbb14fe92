"""Several tokens in one step: guessed from what the sequence already holds, and kept where the model says the same.

Prompt lookup: what followed the last three tokens where they stood before is guessed to follow again (Saxena 2023,
"Prompt Lookup Decoding"; the check is that of Leviathan et al. 2023, arXiv 2211.17192, with a sharper rule). Where they
stand for the first time, what follows them in the documents is guessed (see ``ngrams``). Each place is drawn from its
own scores with its own random number, and the guesses count as far as they are what was drawn: so an answer is the same
token for token with and without guessing, sampled or not. Guessing goes on only while it pays, by measured times and
the sequence's own share of right guesses, of each kind. Where neither text knows, a small model may (see ``draft``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lamina.deployment.engine.ngrams import Ngrams

_GRAM = 3  # tokens that are looked up
_LENGTHS = (2, 4, 7)  # guesses in a step that may be tried
#: Of the documents' n-grams, which often end soon, and of what takes time to guess.
SHORTER = (1, *_LENGTHS)
_HOPE = 0.7  # share of right guesses that a sequence begins with
_LESS_HOPE = 0.5  # of those by the documents' n-grams
_GAIN = 1.05  # tokens for the time of one, from which on it pays
_PAUSE, _LONGEST = 32, 1024  # tokens until a sequence for which it did not pay tries again
_STEADY = 0.9  # weight of the past in running means
_STEADY_DOWN = 0.7  # of times that fall: what else runs on the machine only slows a step


class Guesser(ABC):
    """One kind of guesses for one sequence, whose list ``tokens`` grows."""

    lengths: tuple[int, ...] = _LENGTHS  # guesses in a step that may be tried
    hope = _HOPE

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens
        self.share = self.hope  # of guesses that were right
        self._pause = _PAUSE
        self._resume = 0  # tokens from which on it guesses

    def guess(self, most: int) -> list[int]:
        """Up to ``most`` tokens that may follow; often none."""
        return self._found(most) if len(self._tokens) >= self._resume else []

    def cost(self, count: int) -> float:
        """Seconds that ``count`` guesses take before they are checked."""
        return 0.0

    @abstractmethod
    def _found(self, most: int) -> list[int]: ...

    def learn(self, guessed: int, right: int) -> None:
        """``right`` of ``guessed`` tokens were what was drawn."""
        tried = min(right + 1, guessed)  # behind a wrong one nothing was tried
        self.share = _STEADY * self.share + (1 - _STEADY) * right / tried

    def rest(self) -> None:
        """It does not pay: try again later, and each time later."""
        self._resume = len(self._tokens) + self._pause
        self._pause = min(2 * self._pause, _LONGEST)
        self.share = self.hope


def settled(before: float, seconds: float) -> float:
    """A running mean of times, after another one."""
    steady = _STEADY if seconds > before else _STEADY_DOWN
    return steady * before + (1 - steady) * seconds


class Lookup(Guesser):
    """What followed the same tokens where they stood before."""

    def __init__(self, tokens: Sequence[int]) -> None:
        super().__init__(tokens)
        self._after: dict[tuple[int, ...], int] = {}  # where the place behind a run of tokens is, the latest one
        self._indexed = _GRAM

    def _found(self, most: int) -> list[int]:
        tokens, size = self._tokens, len(self._tokens)
        for behind in range(self._indexed, size):
            self._after[tuple(tokens[behind - _GRAM : behind])] = behind
        self._indexed = max(self._indexed, size)
        place = self._after.get(tuple(tokens[size - _GRAM :]))
        if place is None:
            return []
        found = list(tokens[place : place + most])
        while len(found) < most:  # what repeats with a short period goes on repeating
            found.append(found[len(found) - (size - place)])
        return found


class Recall(Guesser):
    """What follows the same tokens in the documents."""

    lengths = SHORTER
    hope = _LESS_HOPE

    def __init__(self, tokens: Sequence[int], ngrams: Ngrams) -> None:
        super().__init__(tokens)
        self._ngrams = ngrams

    def _found(self, most: int) -> list[int]:
        near = list(self._tokens[-_GRAM:])
        begun = len(near)
        while len(near) - begun < most and (token := self._ngrams.follower(near[-_GRAM:])) is not None:
            near.append(token)
        found = len(near) - begun
        return near[begun : begun + max((n for n in self.lengths if n <= found), default=0)]


class Speculation:
    """What a step costs here, with and without guesses. Times in seconds."""

    def __init__(self) -> None:
        self._plain: float | None = None
        self._checked: dict[int, float] = {}  # by guesses

    def plain(self, seconds: float) -> None:
        """A step of one token took so long."""
        self._plain = seconds if self._plain is None else settled(self._plain, seconds)

    def checked(self, guesses: int, seconds: float) -> None:
        """A step with ``guesses`` took so long."""
        self._checked[guesses] = settled(self._checked.get(guesses, seconds), seconds)

    def length(self, guesser: Guesser) -> int:
        """How many of its guesses pay for a sequence now; 0: none."""
        if self._plain is None:
            return 0
        gains = {count: self._gain(count, guesser) for count in guesser.lengths}
        best = max(gains, key=gains.__getitem__)
        return best if gains[best] >= _GAIN else 0

    def steps(self, seconds: float) -> float:
        """How many steps without guesses take so long; 0 where none was taken yet."""
        return seconds / self._plain if self._plain else 0.0

    def saved(self, guesses: int, right: int, guesser: Guesser) -> float:
        """The steps without guesses that a checked one took the place of, beyond those that its time would allow."""
        return right + 1 - self.steps(self._checked.get(guesses, 0.0) + guesser.cost(guesses))

    def _gain(self, count: int, guesser: Guesser) -> float:
        """Tokens that a step with ``count`` guesses brings, for each that its time would bring without."""
        tokens = sum(guesser.share**n for n in range(count + 1))
        return tokens / (self.steps(self._checked.get(count, self._plain or 0.0) + guesser.cost(count)) or 1.0)
