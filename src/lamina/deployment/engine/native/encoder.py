"""An encoder in the native library: its layers packed there in int8, one call for some texts side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native.packing import Rounded, everywhere, layer, norm, norms_before, products_of
from lamina.deployment.engine.operations import rotary
from lamina.kit.errors import LaminaError
from lamina.model.spec import StackSpec

_ROWS = 512  # tokens of one call, so that what a layer writes is still in the last-level cache when the next one reads


class NativeEncoder:
    """The blocks and the last norm of ``stack``: texts in, hidden states out. Linear layers that are not quantised are
    taken as ``rounded`` makes them; embeddings are ``stack``'s own, in its precision.

    A text's bits depend neither on the texts beside it nor on threads. ``context``: tokens of a text at most;
    ``threads``: how many cores compute. Raises ``LaminaError`` where the library has no memory for the model.
    """

    def __init__(self, stack: Any, *, context: int, rounded: Rounded, threads: int) -> None:
        library = native.open_library()
        if library is None:
            raise LaminaError(f"the native kernels are {native.describe()}")
        self._library, self._embeddings, self._context = library, stack.embeddings, context
        self._kept: list[Tensor] = []  # what the library reads later
        held: list[Tensor] = []  # what it copies

        def hold(tensor: Tensor) -> int:
            held.append(tensor.detach().contiguous())
            return held[-1].data_ptr()

        spec: StackSpec = stack.spec
        before, last = norms_before(stack, ("attention", "feedforward"))
        described = (native.Layer * len(stack.blocks))(
            *(
                layer(
                    block_spec,
                    products_of(block, rounded),
                    (*of_parts, block.attention.q_norm, block.attention.k_norm),
                    hold,
                    **self._angles(stack, block_spec.attention),
                )
                for block_spec, block, of_parts in zip(spec.blocks, stack.blocks, before, strict=True)
            )
        )
        model = native.EncoderModel(
            layers=len(described),
            width=spec.embeddings.width,
            in_place=spec.blocks[0].placement == "post",
            layer=described,
            norm=norm(last, hold),
        )
        wanted = native.wanted_level()
        self._encoder: int | None = library.lamina_encoder_open(model, threads, -1 if wanted is None else wanted)
        if not self._encoder:
            raise LaminaError("the native kernels could not take the model", hint="is there memory for a second copy?")

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """Hidden states (T, D) float32 of each text of token ids. Raises ``LaminaError`` for one that is empty or
        longer than the context."""
        for number, row in enumerate(rows):
            if not 0 < len(row) <= self._context:
                raise LaminaError(f"text {number} has {len(row)} tokens, not 1 to {self._context}", where="encoder")
        return [states for some in _together(rows) for states in self._encode(some)]

    def close(self) -> None:
        """Give the library's memory back."""
        if self._encoder:
            self._library.lamina_encoder_close(self._encoder)
            self._encoder = None

    def use_threads(self, count: int) -> None:
        """Compute with ``count`` threads from the next call on."""
        self._library.lamina_encoder_threads(self._encoder, count)

    def _encode(self, rows: Sequence[Sequence[int]]) -> Sequence[Tensor]:
        ids = torch.tensor([token for row in rows for token in row])
        positions = torch.tensor([place for row in rows for place in range(len(row))])
        embedded = self._embeddings(ids[None], positions[None])[0].float().contiguous()
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        states = torch.empty_like(embedded)
        given = embedded.data_ptr(), ends.ctypes.data, len(ends), states.data_ptr()
        if self._library.lamina_encode(self._encoder, *given):
            raise LaminaError("there is no memory for these texts")
        return states.split([len(row) for row in rows])

    def _angles(self, stack: Any, attention: Any) -> dict[str, int | None]:
        """Where the cosines and sines (T, Dh / 2) of a layer's rotary positions lie."""
        if attention.rotary is None:
            return {}
        frequencies = stack.frequencies[attention.rotary, attention.head_dim].on(torch.device("cpu"))
        tables = rotary(frequencies, self._context)
        self._kept += [table[:, 0, attention.head_dim // 2 :].contiguous() for table in tables]
        return {"cosines": self._kept[-2].data_ptr(), "sines": self._kept[-1].data_ptr()}


def open_native_encoder(stack: Any, *, context: int, rounded: Rounded) -> NativeEncoder | None:
    """An encoder on all of torch's threads; None where the library is not here or does not know such models."""
    if native.open_library() is None or not _knows(stack.spec):
        return None
    return NativeEncoder(stack, context=context, rounded=rounded, threads=max(1, torch.get_num_threads()))


def _knows(spec: StackSpec) -> bool:
    return not spec.causal and everywhere(spec) and not any(block.cross for block in spec.blocks)


def _together(rows: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """``rows`` in their order, some at a time."""
    begin = tokens = 0
    for end, row in enumerate(rows):
        if tokens and tokens + len(row) > _ROWS:
            yield rows[begin:end]
            begin, tokens = end, 0
        tokens += len(row)
    if tokens:
        yield rows[begin:]
