"""Who owns which block of the key-value cache: reference counts, a prefix cache, and runs that lie side by side.

A block holds the keys and values of ``block_tokens`` tokens. Full blocks of prompts are shared: their key is a hash
chain over the token ids from the start of the prompt (after Kwon et al. 2023, arXiv 2309.06180, and vLLM's automatic
prefix caching). A block that nobody uses keeps its content until it is taken anew, the longest unused first. Blocks
may be withdrawn, where memory is short, and put back.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from itertools import groupby, islice, takewhile

from lamina.deployment.engine.change import CacheState
from lamina.kit.errors import LaminaError

_LOOKED = 1024  # free blocks among which a place for a sequence is looked for


class BlockManager:
    """``blocks`` blocks of ``block_tokens`` tokens; ``root`` names what computed them (a hit needs the same root)."""

    def __init__(self, blocks: int, block_tokens: int, *, root: str = "") -> None:
        self.block_tokens = block_tokens
        self.total = blocks
        self._root = hashlib.blake2b(root.encode(), digest_size=16).digest()
        self._owners = [0] * blocks
        self._free: dict[int, None] = dict.fromkeys(range(blocks))  # in the order in which they fell free
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._limit = blocks
        self._withdrawn: set[int] = set()
        self._touched: set[int] = set()  # in memory: written to since they were last given back
        self._given: set[int] = set()  # withdrawn, whose memory can go

    @property
    def free(self) -> int:
        """Blocks that nobody uses."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """Share of the blocks that are in use, 0 to 1, of those that may be used."""
        return min(1.0, (self.total - len(self._free) - len(self._withdrawn)) / max(1, self._limit))

    @property
    def limit(self) -> int:
        """Blocks that may be used."""
        return self._limit

    @property
    def touched(self) -> int:
        """Blocks that are in memory."""
        return len(self._touched)

    def state(self, token_bytes: int, *, coming: int) -> CacheState:
        """For whoever watches; a token's keys and values take ``token_bytes``."""
        return CacheState(
            total=self.total,
            limit=self._limit,
            touched=self.touched,
            block_bytes=token_bytes * self.block_tokens,
            block_tokens=self.block_tokens,
            coming=coming,
        )

    def restrict(self, limit: int) -> None:
        """Let at most ``limit`` blocks be used. Untouched free ones are withdrawn first, then free ones whose content
        is known to nobody, then the longest unused; those in use go when they fall free."""
        self._limit = max(1, min(limit, self.total))
        surplus = self.total - self._limit - len(self._withdrawn)
        if surplus > 0:
            for block in sorted(self._free, key=self._worth)[:surplus]:
                self._withdraw(block)
        for block in sorted(self._withdrawn)[: max(0, -surplus)]:
            self._withdrawn.discard(block)
            self._free[block] = None
            if block in self._given:
                self._given.discard(block)
                self._touched.add(block)

    def given(self) -> list[int]:
        """Blocks that were withdrawn since the last call, whose memory can be given back."""
        given, self._given = sorted(self._given), set()
        return given

    def needed(self, tokens: int) -> int:
        """Blocks that hold ``tokens`` tokens."""
        return -(-tokens // self.block_tokens)

    def extend(self, blocks: list[int], tokens: int) -> bool:
        """Lengthen ``blocks`` until it holds ``tokens`` tokens; False, and nothing changed, if too few are free."""
        want = self.needed(tokens) - len(blocks)
        if want > len(self._free):
            return False
        for _ in range(want):
            near = blocks[-1] + 1 if blocks else -1
            # a neighbour makes runs that are read in one go; not at the price of what another prompt left there
            block = near if near in self._free and near not in self._key_of else self._start()
            self._take(block)
            blocks.append(block)
        return True

    def release(self, blocks: list[int]) -> None:
        """Give all of ``blocks`` back and empty the list. The last ones fall free first: prefixes live longest."""
        for block in reversed(blocks):
            if self._owners[block] < 1:
                raise LaminaError(f"block {block} was released twice", where="key-value cache")
            self._owners[block] -= 1
            if not self._owners[block]:
                self._free[block] = None
                if len(self._withdrawn) < self.total - self._limit:
                    self._withdraw(block)
        blocks.clear()

    def reset(self) -> None:
        """Take every block from whoever has it, and forget what it holds: after a fault nothing of it is trusted."""
        for block, owners in enumerate(self._owners):
            if owners:
                self._owners[block] = 0
                self._free[block] = None
        self._key_of.clear()
        self._block_of.clear()
        self.restrict(self._limit)

    def keys(self, tokens: Sequence[int], of: str = "", *, salt: str = "") -> list[bytes]:
        """The hash chain of the full blocks of ``tokens``; ``of``: what computes them beside the root; ``salt``: what
        whoever asks must know to find them, so that nobody else's waiting tells what a prompt began with (as vLLM's
        ``cache_salt``; Song et al. 2024, arXiv 2409.20002, read prompts off the time to the first token)."""
        keys, key = [], self._root
        for name, mixed in ((b"of", of), (b"salt", salt)):  # told apart: an adapter's key is no salt
            if mixed:
                key = hashlib.blake2b(key + mixed.encode(), digest_size=16, person=name).digest()
        for start in range(0, len(tokens) - self.block_tokens + 1, self.block_tokens):
            part = array("q", tokens[start : start + self.block_tokens]).tobytes()
            key = hashlib.blake2b(key + part, digest_size=16).digest()
            keys.append(key)
        return keys

    def known(self, keys: Iterable[bytes]) -> int:
        """How many of the first ``keys`` ``match`` would find now."""
        return sum(1 for _ in takewhile(self._block_of.__contains__, keys))

    def match(self, keys: Iterable[bytes]) -> list[int]:
        """The blocks that already hold the longest known beginning of ``keys``; the caller now owns a share in them."""
        found: list[int] = []
        for key in keys:
            block = self._block_of.get(key)
            if block is None:
                break
            self._free.pop(block, None)
            self._owners[block] += 1
            found.append(block)
        return found

    def remember(self, block: int, key: bytes) -> None:
        """The ``block`` is full and holds what ``key`` stands for; what is known already stays."""
        if key not in self._block_of and block not in self._key_of:
            self._block_of[key] = block
            self._key_of[block] = key

    def check(self, holders: Iterable[Sequence[int]]) -> None:
        """Raise unless every block is free, or owned by exactly those ``holders`` (block lists) that list it."""
        owners = [0] * self.total
        for blocks in holders:
            for block in blocks:
                owners[block] += 1
        for block, count in enumerate(owners):
            idle = (block in self._free) + (block in self._withdrawn)
            if count != self._owners[block] or idle != (count == 0):
                raise LaminaError(
                    f"block {block} has {count} holders, {self._owners[block]} recorded", where="key-value cache"
                )

    def _take(self, block: int) -> None:
        del self._free[block]
        self._owners[block] = 1
        self._touched.add(block)
        self._unlearn(block)

    def _worth(self, block: int) -> tuple[bool, bool, int]:
        """The least first; of remembered ones as they fell free, of others the last first, so that runs stay whole."""
        known = block in self._key_of
        return block in self._touched, known, 0 if known else -block

    def _withdraw(self, block: int) -> None:
        del self._free[block]
        self._withdrawn.add(block)
        self._unlearn(block)
        if block in self._touched:
            self._touched.discard(block)
            self._given.add(block)

    def _unlearn(self, block: int) -> None:
        key = self._key_of.pop(block, None)
        if key is not None:
            del self._block_of[key]

    def _start(self) -> int:
        """Where a sequence should begin to lie: in the longest run of free blocks, away from whoever grows into it.

        Runs without remembered content come first; among remembered blocks the longest unused goes.
        """
        clean = sorted(islice((block for block in self._free if block not in self._key_of), _LOOKED))
        if not clean:
            return next(iter(self._free))
        runs = []
        for _, group in groupby(enumerate(clean), lambda pair: pair[1] - pair[0]):
            members = [block for _, block in group]
            runs.append((len(members), members[0]))
        length, first = max(runs, key=lambda run: (run[0], -run[1]))
        neighbour = first > 0 and self._owners[first - 1] > 0
        return first + (length // 2 if neighbour else 0)
