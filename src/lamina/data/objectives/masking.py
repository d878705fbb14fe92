"""Masked language modelling: some tokens are hidden, and are what a place is to say (Devlin et al. 2019, BERT)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.tokens import IGNORED, Batch, BatchStream
from lamina.data.forms import Ids
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.tokenizer import ModelTokenizer

_FORMAT = 1
_DRAWS = 0x3A5C  # keeps these draws apart from others of the same seed
_LONGEST = 8  # tokens of a word; longer ones (texts without spaces) are hidden in parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """What is hidden, and how. ``share`` of each row's tokens are chosen; of these ``replaced`` become ``mask``,
    ``random`` another token, the others stay as they are: all are to be said.

    ``special`` (V,) bool: tokens that are never chosen and never put in; ``opens`` and ``closes`` (V,) bool: tokens
    with which a word begins or ends, for whole words; None: each token by itself.
    """

    mask: int
    special: NDArray[np.bool_]
    share: float = 0.15
    replaced: float = 0.8
    random: float = 0.1
    opens: NDArray[np.bool_] | None = None
    closes: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"must be a share above 0 and below 1, not {self.share}", where="model.train.mask")
        if self.replaced < 0 or self.random < 0 or self.replaced + self.random > 1:
            raise ConfigError(f"{self.replaced} and {self.random} are no shares of a whole", where="masking")

    @property
    def identity(self) -> dict[str, Any]:
        """What it was made with, as JSON."""
        shares = {name: getattr(self, name) for name in ("mask", "share", "replaced", "random")}
        return shares | {"whole_words": self.opens is not None, "vocabulary": len(self.special)}

    def hide(self, batch: Batch, random: np.random.Generator) -> Batch:
        """``batch``, whose targets are its own tokens, with some of them hidden and the others not to be said."""
        tokens = batch.inputs
        can = ~self.special[tokens] & (batch.segments != 0) & (batch.targets != IGNORED)
        units = self._units(batch)
        chosen = np.zeros(tokens.shape, np.bool_)
        for row in range(len(tokens)):
            chosen[row] = self._choose(can[row], units[row], random)
        draws = random.random(tokens.shape)
        ordinary = np.flatnonzero(~self.special)
        others = ordinary[random.integers(0, len(ordinary), tokens.shape)]
        inputs = np.where(chosen & (draws < self.replaced), self.mask, tokens)
        put_in = chosen & (draws >= self.replaced) & (draws < self.replaced + self.random)
        inputs = np.where(put_in, others, inputs)
        return replace(batch, inputs=inputs, targets=np.where(chosen, batch.targets, IGNORED))

    def _choose(self, can: NDArray[np.bool_], units: Ids, random: np.random.Generator) -> NDArray[np.bool_]:
        """Places (T,) of one row: units in random order, as many as the share holds, at least one."""
        chosen = np.zeros(len(can), np.bool_)
        places = np.flatnonzero(can)
        if not len(places):
            return chosen
        unit = np.unique(units[places], return_inverse=True)[1]
        sizes = np.bincount(unit)
        order = random.permutation(len(sizes))
        taken = np.cumsum(sizes[order]) <= round(self.share * len(places))
        taken[0] = True
        wanted = np.zeros(len(sizes), np.bool_)
        wanted[order[taken]] = True
        chosen[places] = wanted[unit]
        return chosen

    def _units(self, batch: Batch) -> Ids:
        """(B, T): the number of the word that a token belongs to, or of the token."""
        index = np.broadcast_to(np.arange(batch.inputs.shape[1]), batch.inputs.shape)
        if self.opens is None or self.closes is None:
            return index
        special, tokens, segments = self.special[batch.inputs], batch.inputs, batch.segments
        begins = np.ones(tokens.shape, np.bool_)
        begins[:, 1:] = (
            self.opens[tokens[:, 1:]]
            | self.closes[tokens[:, :-1]]
            | special[:, 1:]
            | special[:, :-1]
            | (segments[:, 1:] != segments[:, :-1])
        )
        within = index - np.maximum.accumulate(np.where(begins, index, 0), axis=1)
        return np.cumsum(begins | (within % _LONGEST == 0), axis=1)


class MaskedBatches:
    """The batches of ``stream`` with some tokens hidden; which ones follows from ``seed`` and the count of batches."""

    def __init__(self, stream: BatchStream, masking: Masking, *, seed: int) -> None:
        self._stream, self._masking, self._seed, self._drawn = stream, masking, seed, 0

    def __iter__(self) -> MaskedBatches:
        return self

    def __next__(self) -> Batch:
        batch = next(self._stream)
        random = np.random.default_rng([self._seed, self._drawn, _DRAWS])
        self._drawn += 1
        return self._masking.hide(batch, random)

    def state(self) -> Mapping[str, Any]:
        """Where the stream stands, as JSON."""
        return {"format": _FORMAT, "of": self._identity(), "drawn": self._drawn, "stream": dict(self._stream.state())}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a saved place. Raises ``InputError`` where it was saved with other masks, or over another stream."""
        if state.get("format") != _FORMAT or state.get("of") != self._identity():
            raise InputError("this place was saved in a stream with other masks", hint="start the run afresh")
        self._stream.restore(state["stream"])
        self._drawn = int(state["drawn"])

    def _identity(self) -> dict[str, Any]:
        return self._masking.identity | {"seed": self._seed}


def masking_of(tokenizer: ModelTokenizer, *, share: float = 0.15, whole_words: bool = False) -> Masking:
    """How texts of ``tokenizer`` are masked. Raises ``ConfigError`` where it has no token for what is hidden."""
    mask = tokenizer.special_id("mask_token")
    if mask is None:
        raise ConfigError(
            "the tokenizer has no mask token, which a masked language model needs",
            where=tokenizer.where,
            hint='[data.tokenizer] use = "wordpiece" or "bpe" for a BERT, or the base of one',
        )
    special = special_tokens(tokenizer.control, tokenizer.vocabulary)
    opens, closes = word_edges(tokenizer) if whole_words else (None, None)
    return Masking(mask=mask, special=special, share=share, opens=opens, closes=closes)


def special_tokens(control: Collection[int], vocabulary: int) -> NDArray[np.bool_]:
    """(V,): which tokens are control tokens."""
    special = np.zeros(vocabulary, np.bool_)
    special[list(control)] = True
    if special.all():
        raise InputError("the vocabulary has nothing but control tokens", where="tokenizer")
    return special


def word_edges(tokenizer: ModelTokenizer) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(V,) and (V,): the tokens with which a word begins, and those with which it ends, whatever stands beside them.

    A word is a run of letters and digits (bytes from 0x80 on are counted as letters), with the space before it; any
    other character is one by itself.
    """
    pieces = tokenizer.pieces
    if pieces is None:
        raise ConfigError("it cannot be told where words begin", where=tokenizer.where, hint="whole_words = false")
    opens = [not piece or not _in_word(piece[0]) for piece in pieces]
    closes = [not piece or not (_in_word(piece[-1]) or piece.endswith(b" ")) for piece in pieces]
    return np.asarray(opens), np.asarray(closes)


def _in_word(byte: int) -> bool:
    return byte >= 0x80 or chr(byte).isalnum()
