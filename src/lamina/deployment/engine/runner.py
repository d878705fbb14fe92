"""Runs a ``Transformer`` step by step over paged keys and values.

The same computation as ``Transformer.forward`` with fewer and larger operations: fused query-key-value and gate-up
products (the model's layers become views of the fused weights, so that nothing is held twice), rotary tables made
once, keys and values written together. Keys and values lie as [layer][kv_head][block][token][head_dim], in float32
where nobody asks for less: a sequence whose blocks are neighbours is attended to in place, any other through one gather
(measured on 2 cores, AVX2: float32 attention is 1.2 times as fast as bfloat16 at 1024 tokens).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from lamina.deployment.engine.adapters import EngineAdapter, beside, one_kind_at_a_time
from lamina.deployment.engine.attending import Attend, attend_prompt, attend_tokens
from lamina.deployment.engine.cache import Cache, bytes_per_token, cache_dtype
from lamina.deployment.engine.choice import Proof, Trial, agree, faster
from lamina.deployment.engine.compiled import CompiledDecoder, open_compiled
from lamina.deployment.engine.exact import prefill_in_tiles
from lamina.deployment.engine.gpu import graphs
from lamina.deployment.engine.gpu.steps import wide_scores
from lamina.deployment.engine.layer import check_served, let_go, make_layer
from lamina.deployment.engine.memory import give_back
from lamina.deployment.engine.native.decoder import NativeDecoder, open_native
from lamina.deployment.engine.operations import int8_scores, norm, rotary, rotate
from lamina.deployment.engine.place import Paging, Piece, Place
from lamina.kit.errors import LaminaError
from lamina.model.transformer import Transformer

#: Prefill products get at least so many rows (padding): from there on a row's result does not depend on their number.
_FEWEST_ROWS = 16
_log = logging.getLogger(__name__)
Kernels = Literal["auto", "native", "compiled", "graphs", "torch"]
_SHORT = 8  # rest of a prompt that the compiled step computes sooner than a padded product over dequantised weights


class Runner:
    """``model`` over ``blocks`` blocks of ``block_tokens`` tokens. Takes the model over: its projections get fused.

    ``kernels``: "auto" measures which way is faster here, torch's or the native library's (where it gives torch's
    scores; without the library numba's), and takes CUDA graphs on a GPU; or one of them by name (where the model has no
    such way, torch's is taken). ``proof``: what "auto" found before; raises ``DisprovedError`` where it holds no more.
    ``most``: sequences in a step. ``cache``: the kind of keys and values. ``sole``, ``deterministic``: see ``Engine``.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        blocks: int,
        block_tokens: int,
        context: int,
        kernels: Kernels = "auto",
        most: int = 8,
        cache: Cache = None,
        sole: bool = False,
        deterministic: bool = False,
        proof: Proof | None = None,
    ) -> None:
        self.model: Any = model
        self._stack: Any = model.stack
        self._spec = model.spec.stack
        self.block_tokens = block_tokens
        check_served(model.spec)
        first: Any = self._stack.blocks[0]
        weight = first.attention.o.weight.dtype
        self._device = self.device = first.attention.o.weight.device
        self._quantized = weight in (torch.int8, torch.uint8)
        self._narrow = torch.bfloat16 if self._quantized else weight
        self._wide = getattr(first.attention.o, "wide", weight)
        assert self._spec.norm is not None  # check_served saw to it
        self._norm = norm(self._stack.norm, self._spec.norm)
        tables = {key: rotary(f.on(self._device), context) for key, f in self._stack.frequencies.items()}
        spare = 1 if self._device.type == "cuda" else 0  # a block for rows that fill up a graph's batch
        slots = (blocks + spare) * block_tokens
        self.token_bytes = bytes_per_token(model, cache)
        dtype = cache_dtype(cache, self._device, self._narrow)
        self._layers = [make_layer(self._stack, i, tables, slots, dtype) for i in range(len(self._spec.blocks))]
        self._paging = Paging(block_tokens, self._device)
        sizes = {"block_tokens": block_tokens, "pages": -(-context // block_tokens), "spare": blocks, "most": most}
        self.exact = False
        self._graphs: graphs.GraphDecoder | None = None
        if spare and kernels != "torch" and cache is None:
            self._graphs = graphs.open_graphs(self._stack, self._layers, head=self.model.head, **sizes)
        self._native: NativeDecoder | None = None
        self._compiled: CompiledDecoder | None = None
        parts = self._stack, self._layers, self.model.head
        if self._quantized and kernels in ("auto", "native"):
            self._native = open_native(*parts, context=context, block_tokens=block_tokens)
        int8 = all(product.weight.dtype == torch.int8 for layer in self._layers for product in layer.products)
        int8 &= dtype == torch.float32 and not deterministic  # numba's kernels know no other keys
        if int8 and (kernels == "compiled" or (kernels == "auto" and self._native is None)):
            self._compiled = open_compiled(*parts, block_tokens)
        self._native_prompts = self._native is not None
        self.proof = proof
        if kernels == "auto":
            trial = Trial.of(blocks, block_tokens, self._spec.embeddings.vocabulary, context=context)
            self._choose(trial, by_time=not deterministic)
        self.exact = deterministic and self._native is None
        if sole and self._native is not None and self._native_prompts:
            let_go(self._layers, self._stack.blocks)

    @property
    def kernels(self) -> Literal["native", "compiled", "graphs", "torch"]:
        """How single tokens are computed."""
        if self._graphs is not None:
            return "graphs"
        if self._native is not None:
            return "native"
        return "torch" if self._compiled is None else "compiled"

    def close(self) -> None:
        """End the threads and give back the memory that it may have."""
        for way in (self._native, self._compiled, self._graphs):
            if way is not None:
                way.close()

    @property
    def native(self) -> NativeDecoder | None:
        """The native library's decoder, where it computes."""
        return self._native

    def use_threads(self, count: int, *, torch_too: bool = True) -> None:
        """Compute with ``count`` threads from now on. To be called by the thread that computes: torch counts for each.

        Scores of the native library do not depend on it. ``torch_too``: unless another runner there sets that count.
        """
        if torch_too and not self.exact:  # what torch computes may depend on it
            torch.set_num_threads(count)
        for way in (self._native, self._compiled):
            if way is not None:
                way.use_threads(count)

    def give_back(self, blocks: Sequence[int]) -> None:
        """Give the memory of ``blocks`` back to the system; what they held is lost."""
        stores = [store for layer in self._layers for store in (layer.store, layer.scales) if store is not None]
        give_back(stores, blocks, self.block_tokens)

    def decode(self, tokens: Sequence[int], places: Sequence[Place]) -> Tensor:
        """Compute one token for each of several sequences; the scores (B, V) float32 of what follows."""
        return self._decode(tokens, places) if self._native is None else self._native(tokens, places)

    @torch.inference_mode()
    def _decode(self, tokens: Sequence[int], places: Sequence[Place]) -> Tensor:
        if self.exact and len(tokens) > 1:
            return torch.cat([self.decode([token], [place]) for token, place in zip(tokens, places, strict=True)])
        if (way := self._compiled or self._graphs) is not None:
            known = [way.knows(place.adapter) for place in places]
            if all(known):
                return way(tokens, places)
            if any(known):
                return one_kind_at_a_time(self.decode, tokens, places, known)
        adapted = [(slice(n, n + 1), place.adapter) for n, place in enumerate(places) if place.adapter is not None]
        positions = [place.stored for place in places]
        attend = attend_tokens(places, self._paging)
        ids, at = (torch.tensor(values, device=self._device) for values in (tokens, positions))
        hidden = self._forward(ids, at, attend, few=True, adapted=adapted)
        return self._scores(hidden)

    @torch.inference_mode()
    def check(self, tokens: Sequence[int], place: Place) -> Tensor:
        """The scores (T, V) after each of a few ``tokens`` of one sequence, as ``decode`` gives them one by one."""
        if self._native is None and self._compiled is not None and place.adapter is None:
            return self._compiled.scores(self._compiled.extend(tokens, place))
        return self.decode(tokens, [replace(place, stored=place.stored + n) for n in range(len(tokens))])

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], place: Place, *, scores: bool) -> Tensor | None:
        """Compute the next ``tokens`` of one sequence; the scores (V,) float32 after the last one where asked for."""
        count = len(tokens)
        if self._native is not None and (self._native_prompts or count <= _SHORT):
            return self._native.prefill(tokens, place, scores=scores)
        if self._graphs is not None and self._graphs.knows(place.adapter) and not self.exact:
            found = self._graphs.together([Piece(tokens, place, scores)])
            return found[0] if scores else None
        if self._compiled is not None and count <= _SHORT and place.adapter is None:
            hidden = self._compiled.extend(tokens, place)
            return self._compiled.scores(hidden[-1:])[0] if scores else None
        if self.exact:
            hidden = prefill_in_tiles(tokens, place, self._forward, self._paging)
            return self._scores(hidden)[0] if scores else None
        padded = max(_FEWEST_ROWS, count)
        ids = torch.tensor([*tokens, *[0] * (padded - count)], device=self._device)
        start, end = place.stored, place.stored + count
        positions = torch.full((padded,), start, device=self._device)
        positions[:count] = torch.arange(start, end, device=self._device)
        attend = attend_prompt(place, count, padded, self._paging)
        adapted = [] if place.adapter is None else [(slice(0, padded), place.adapter)]
        hidden = self._forward(ids, positions, attend, few=False, adapted=adapted)
        return self._scores(hidden[count - 1 : count])[0] if scores else None

    def mixes(self, places: Iterable[Place]) -> bool:
        """Whether ``together`` computes such sequences."""
        if self._graphs is not None:
            return not self.exact and all(self._graphs.knows(place.adapter) for place in places)
        return self._native is not None and self._native_prompts

    @torch.inference_mode()
    def together(self, pieces: Sequence[Piece]) -> Tensor:
        """Compute pieces of several sequences, of answers or prompts, in one call that reads the weights once; the
        scores (W, V) after those that want them. Each is computed as ``decode`` and ``prefill`` compute it."""
        if self._native is not None:
            return self._native.together(pieces)
        assert self._graphs is not None
        return self._graphs.together(pieces)

    def _forward(
        self,
        ids: Tensor,
        positions: Tensor,
        attend: Attend,
        *,
        few: bool,
        adapted: Sequence[tuple[slice, EngineAdapter]] = (),
    ) -> Tensor:
        """Hidden states (N, D) float32 before the final norm, for N rows; ``few``: by the kernels for decoding."""
        hidden = self._stack.embeddings(ids[None], positions[None])[0].float()
        dtype = self._narrow if few else self._wide
        tables: dict[int, tuple[Tensor, Tensor]] = {}
        for number, layer in enumerate(self._layers):
            attention = layer.spec.attention
            products = layer.few_rows if few else layer.products
            qkv_of, o_of, up_of, down_of = beside(products, number, adapted, dtype) if adapted else products
            qkv = qkv_of(layer.attention_norm(hidden).to(dtype))
            qkv = qkv.view(qkv.shape[0], -1, attention.head_dim).float()
            if layer.q_norm is not None and layer.k_norm is not None:
                qkv[:, : attention.heads] = layer.q_norm(qkv[:, : attention.heads])
                qkv[:, attention.heads : layer.turning] = layer.k_norm(qkv[:, attention.heads : layer.turning])
            if layer.rotary is not None:
                key = id(layer.rotary)
                if key not in tables:
                    tables[key] = (layer.rotary[0][positions], layer.rotary[1][positions])
                rotate(qkv.narrow(1, 0, layer.turning), *tables[key])
            q, kv = qkv.split((attention.heads, 2 * attention.kv_heads), dim=1)
            attended = attend(layer, q.to(layer.dtype), kv.to(layer.dtype))
            hidden = hidden + layer.attention_after(o_of(attended.to(dtype)))
            inner = up_of(layer.feedforward_norm(hidden).to(dtype))
            if layer.spec.feedforward.gated:
                gate, up = inner.chunk(2, dim=-1)
                inner = layer.activation(gate) * up
            else:
                inner = layer.activation(inner)
            hidden = hidden + layer.feedforward_after(down_of(inner))
        return hidden

    def _scores(self, hidden: Tensor) -> Tensor:
        """Scores (B, V) float32 from hidden states (B, D) before the final norm."""
        if self._compiled is not None:
            return self._compiled.scores(hidden)
        normed = self._norm(hidden)
        head: Any = self.model.head
        if self._device.type == "cuda":
            return wide_scores(head, normed.to(head.weight.dtype))
        return int8_scores(head, normed) if self._quantized else head(normed.to(head.weight.dtype)).float()

    def _choose(self, trial: Trial, *, by_time: bool) -> None:
        """Keep a way only if it is faster than torch's here, and the native one only if it gives the same scores."""
        native, compiled = self._native, self._compiled
        if self.proof is not None:
            try:
                return trial.confirm(native, self.proof)
            except LaminaError:
                self.close()
                raise

        def by_torch(compute: Callable[[], Any]) -> Callable[[], Any]:
            def plainly() -> Any:
                self._native = self._compiled = None
                try:
                    return compute()
                finally:
                    self._native, self._compiled = native, compiled

            return plainly

        def decode() -> Tensor:
            return self.decode([0], [trial.after])

        def prefill() -> Tensor | None:
            return self.prefill(trial.prompt, trial.place, scores=True)

        if native is not None and not agree(prefill(), by_torch(prefill)()):
            _log.warning("the native kernels do not give torch's scores here: torch computes")
            self._native = None
            native.close()
            native = None
        if by_time:
            if native is not None:
                self._native_prompts = faster(prefill, by_torch(prefill), "a prompt")
            if (native or compiled) and not faster(decode, by_torch(decode), "a token"):
                self.close()
                self._native = self._compiled = None
        if self._native is not None and self._native_prompts:
            self.proof = Proof(trial.bits(self._native))
