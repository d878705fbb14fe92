"""Which way an encoder's hidden states are computed: natively, or by torch."""

from __future__ import annotations

import logging
from typing import Any

import torch

from lamina.deployment.engine.choice import alike, faster
from lamina.deployment.engine.native.encoder import NativeEncoder, Rounded, open_native_encoder
from lamina.model.transformer import Transformer

_TEXTS, _TRIED = 4, 32  # texts and tokens of each by which two ways are compared
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
