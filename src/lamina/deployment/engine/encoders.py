"""Which way encoders and encoder-decoders are computed: natively, or by torch."""

from __future__ import annotations

import logging
from typing import Any

import torch

from lamina.deployment.engine.choice import alike, faster
from lamina.deployment.engine.native.encoder import NativeEncoder, open_native_encoder
from lamina.deployment.engine.native.packing import Rounded
from lamina.deployment.engine.native.writer import NativeWriter, open_native_writer
from lamina.model.computing import Computing, PlainComputing
from lamina.model.transformer import Transformer

_TEXTS, _TRIED = 4, 32  # texts and tokens of each by which two ways are compared
_STEPS = 8
_log = logging.getLogger(__name__)


@torch.inference_mode()
def choose_native(model: Transformer, *, context: int, rounded: Rounded, by_time: bool) -> NativeEncoder | None:
    """The native encoder of ``model`` where its hidden states are torch's and, ``by_time``, where it is faster here;
    None where torch computes."""
    stack: Any = model.stack
    if next(stack.parameters()).device.type != "cpu":
        return None
    found = open_native_encoder(stack, context=context, rounded=rounded)
    if found is None:
        return None
    row = [1 + token % (stack.spec.embeddings.vocabulary - 1) for token in range(min(_TRIED, context))]
    ids = torch.tensor([row] * _TEXTS)
    if not alike(found([row])[0], model(ids[:1])[0]):
        _log.warning("the native kernels do not give torch's hidden states here: torch computes")
    elif not by_time or faster(lambda: found([row] * _TEXTS), lambda: model(ids), "an encoder's texts"):
        return found
    found.close()
    return None


@torch.inference_mode()
def choose_native_writer(model: Transformer, *, rounded: Rounded, by_time: bool) -> NativeWriter | None:
    """The same for an encoder-decoder: the scores of some steps over some texts are looked at."""
    stack: Any = model.stack
    if next(stack.parameters()).device.type != "cpu":
        return None
    found = open_native_writer(model, rounded=rounded)
    if found is None:
        return None
    words, longest = stack.spec.embeddings.vocabulary, model.spec.max_positions
    sources = [[1 + token % (words - 1) for token in range(min(count, longest))] for count in (_TRIED, _TRIED // 2)]
    said = torch.tensor([[token % words, (token + 1) % words] for token in range(_STEPS)])[:longest]

    def scores(computing: Computing) -> torch.Tensor:
        steps = torch.stack([computing.scores(tokens[:, None]) for tokens in said])
        return steps[:, 0] - steps[:, 0].mean(-1, keepdim=True)

    def ours() -> torch.Tensor:
        rows = found.begin(sources, 1, len(said))
        assert rows is not None  # there is room for so few
        return scores(rows)

    def theirs() -> torch.Tensor:
        return scores(PlainComputing(model, sources))

    if not alike(ours(), theirs()):
        _log.warning("the native kernels do not give torch's scores here: torch computes")
    elif not by_time or faster(ours, theirs, "an encoder-decoder's steps"):
        return found
    found.close()
    return None
