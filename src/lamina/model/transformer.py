"""One transformer for every architecture: what it computes follows from its ``ModelSpec`` alone."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from lamina.kit.errors import ConfigError
from lamina.model.layers.attention import Attention
from lamina.model.layers.cache import KeyValueCache
from lamina.model.layers.heads import VocabularyHead, first_token, last_token, make_output
from lamina.model.layers.stack import Stack
from lamina.model.spec import ModelSpec

_INIT_STD = 0.02  # of weights; residual projections are narrowed by sqrt(2 · layers), as in the GPT-2 report


class Transformer(nn.Module):
    """An encoder, a decoder, or both. Submodules: ``encoder``, ``decoder`` (``Stack``s), ``head``, ``outputs``."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = self.decoder = None
        source = spec.encoder.embeddings.width if spec.encoder else None
        if spec.encoder:
            self.encoder = Stack(spec.encoder, spec.max_positions, dropout=spec.dropout)
        if spec.decoder:
            table = self.encoder.embeddings.token if self.encoder and spec.shared_embeddings else None
            self.decoder = Stack(
                spec.decoder, spec.max_positions, token=table, source_width=source, dropout=spec.dropout
            )
        width, vocabulary = spec.stack.embeddings.width, spec.stack.embeddings.vocabulary
        self.head: nn.Module | None = None
        if spec.head:
            tied = self.stack.embeddings.token if spec.head.tied else None
            self.head = VocabularyHead(spec.head, width, vocabulary, tied)
        self.outputs = nn.ModuleDict({output.kind: make_output(output, width) for output in spec.outputs})
        self.reset_parameters()

    @property
    def stack(self) -> Any:
        """The ``Stack`` that heads stand on: the decoder where there is one."""
        return self.decoder if self.decoder is not None else self.encoder

    @property
    def aliases(self) -> dict[str, str]:
        """Names of parameters that are others under a second name, with those others' names."""
        found = {"head.weight": table_name(self.spec)} if self.spec.head and self.spec.head.tied else {}
        if self.spec.shared_embeddings:
            found["decoder.embeddings.token.weight"] = "encoder.embeddings.token.weight"
        return found

    def tie(self) -> None:
        """Make tied parameters one again, after they were replaced one by one."""
        if self.spec.shared_embeddings and self.encoder is not None and self.decoder is not None:
            self.decoder.embeddings.token.weight = self.encoder.embeddings.token.weight
        if isinstance(self.head, VocabularyHead) and self.spec.head and self.spec.head.tied:
            self.head.weight = self.stack.embeddings.token.weight

    def reset_parameters(self) -> None:
        """Draw fresh weights from torch's generator: normal, std 0.02; biases zero; norms one.

        Queries are narrower where an attention's scale is wider than 1 / sqrt(head_dim), so that scores start alike.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                stack = self.encoder if name.startswith("encoder.") else self.decoder
                narrow = 1.0
                if stack is not None and name.endswith(("attention.o", "cross.o", "feedforward.down")):
                    narrow = 1 / math.sqrt(2 * len(stack.blocks))
                nn.init.normal_(module.weight, std=_INIT_STD * narrow)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Attention) and module.scale is not None and not module.q.weight.is_meta:
                module.q.weight.data.mul_(1 / (module.scale * math.sqrt(module.head_dim)))

    def forward(
        self,
        inputs: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        kinds: Tensor | None = None,
        sources: Tensor | None = None,
        source_segments: Tensor | None = None,
        source: Tensor | None = None,
        cache: KeyValueCache | None = None,
        causal: bool | None = None,
        always_mask: bool = False,
    ) -> Tensor:
        """Hidden states (B, T, D) after the final norm, for token ids ``inputs`` (B, T) int64.

        ``segments`` (B, T): documents packed in a row, numbered from 1, 0 = padding; none sees another.
        ``positions`` (B, T): places in the document; default: from the start of the row, or of each segment.
        ``kinds`` (B, T): of token, where the embeddings know several (BERT's first and second text).
        ``sources`` (B, S): what an encoder beside the decoder reads, with ``source_segments`` numbered as ``segments``
        are; or ``source``, what ``encode`` made of it.
        ``cache``: what it stored is attended to as well, and comes before ``inputs``; no ``segments`` then.
        ``causal``: other than the specification has it, for models that were trained both ways (arXiv 2410.24159).
        ``always_mask``: make the masks that the segments ask for without looking whether plain attention would do.
        """
        if self.spec.encoder and self.spec.decoder and source is None:
            if sources is None:
                raise ConfigError("a model with an encoder and a decoder needs 'sources'", where="Transformer")
            source = self.encode(sources, segments=source_segments, always_mask=always_mask)
        out: Tensor = self.stack(
            inputs,
            positions=positions,
            segments=segments,
            kinds=kinds,
            cache=cache,
            source=source,
            source_segments=source_segments,
            causal=causal,
            always_mask=always_mask,
        )
        return out

    def encode(self, sources: Tensor, *, segments: Tensor | None = None, always_mask: bool = False) -> Tensor:
        """The encoder's last hidden states (B, S, D) for token ids ``sources`` (B, S), see ``forward``."""
        if self.encoder is None:
            raise ConfigError("this model has no encoder", where="Transformer")
        out: Tensor = self.encoder(sources, segments=segments, always_mask=always_mask)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (..., V) over the vocabulary, from hidden states (..., D)."""
        if self.head is None:
            raise ConfigError("this model has no head over the vocabulary", where="Transformer")
        out: Tensor = self.head(hidden)
        return out

    def output(self, kind: str, hidden: Tensor, *, segments: Tensor | None = None) -> Tensor:
        """What the output ``kind`` says, from hidden states (B, T, D): (B, T, labels) for "tag", else (B, …).

        For texts one a row; ``segments`` (B, T) is 0 where there is padding.
        """
        layer = self.outputs[kind]
        if kind == "tag":
            out: Tensor = layer(hidden)
            return out
        text = last_token(hidden, segments) if self.spec.stack.causal else first_token(hidden)
        if kind != "pooler" and "pooler" in self.outputs:
            text = self.outputs["pooler"](text)
        out = layer(text)
        return out

    @property
    def parameter_count(self) -> int:
        """Weights, a tied matrix counted once."""
        return sum(p.numel() for p in self.parameters())


def table_name(spec: ModelSpec) -> str:
    """The name of the token table that a tied head shares."""
    own = "decoder" if spec.decoder and not spec.shared_embeddings else "encoder"
    return f"{own}.embeddings.token.weight"
