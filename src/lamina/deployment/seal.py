"""The parity seal: proof that the model that answers is the one that was measured.

It holds the digest of the model's files and, for eight fixed prompts, the scores of the next token as the evaluator saw
them. Where a server loads the model they are computed again: on the same kind of machine they must be equal bit by
bit, elsewhere the likeliest token must be the same and the distributions within 1e-3 nats (Kullback-Leibler).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamina.contracts.tokens import Tokenizer
from lamina.deployment.blobs import folder_digest
from lamina.deployment.compress.quantize import open_served
from lamina.kit.errors import CorruptError
from lamina.kit.limits import processor_name
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.transformer import Transformer

PROMPTS = (
    "The",
    "Once upon a time there was",
    "What is the capital of France?",
    "def add(a, b):\n    return",
    "2 + 2 = 4, 3 + 3 = 6, 4 + 4 =",
    "Größe, naïve, 東京, 🙂: these are",
    "The list below has ten entries. The first entry is short, the second one is longer, and the third one",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
    "it was the epoch of belief, it was the epoch of incredulity, it was the season of light, it was the season",
)
_MOST_NATS = 1e-3
#: In bfloat16 from the first layer to the last: decision 15.
MOST_NATS_BFLOAT16 = 0.02
_LONGEST = 64  # tokens of a prompt
_FORMAT = 1


def make_seal(folder: Path) -> dict[str, Any]:
    """The seal of the model in ``folder``, to be kept with its version: JSON, 3 bytes for each token and prompt."""
    model, tokenizer = open_served(folder), open_tokenizer(folder)
    return seal_of(model, tokenizer, folder_digest(folder))


def seal_of(model: Transformer, tokenizer: Tokenizer, digest: str) -> dict[str, Any]:
    """The seal of an open model whose files have this ``digest``."""
    scores = _scores(model, tokenizer)
    logprobs = torch.log_softmax(scores, dim=-1).to(torch.float16)
    return {
        "format": _FORMAT,
        "manifest": digest,
        "machine": machine(_device(model)),
        "scores_sha256": _sha256(scores),
        "shape": list(scores.shape),
        "logprobs_float16": base64.b64encode(logprobs.numpy().tobytes()).decode("ascii"),
    }


def check_seal(
    model: Transformer,
    tokenizer: Tokenizer,
    seal: Mapping[str, Any],
    *,
    digest: str | None = None,
    most: float = _MOST_NATS,
) -> None:
    """Compute ``seal``'s scores again. Raises ``CorruptError`` where ``model`` is not the one that was sealed.

    ``digest`` is that of the files it was opened from; ``most``: nats that a distribution may be away elsewhere.
    """
    if seal.get("format") != _FORMAT:
        raise CorruptError("the parity seal is of an unknown format", where="parity seal")
    if digest is not None and seal["manifest"] != digest:
        raise CorruptError("the parity seal belongs to other files", where="parity seal")
    check_scores(_scores(model, tokenizer), seal, machine(_device(model)), most=most)


def prompts_of(tokenizer: Tokenizer, positions: int) -> list[list[int]]:
    """The seal's prompts as token ids, for a model of so many ``positions``."""
    return [tokenizer.encode(prompt)[: min(_LONGEST, positions)] or [0] for prompt in PROMPTS]


def check_scores(scores: Tensor, seal: Mapping[str, Any], where: str, *, most: float = _MOST_NATS) -> None:
    """``scores`` (8, V) after the seal's prompts, computed on the machine ``where``. Raises ``CorruptError``."""
    if list(scores.shape) != list(seal["shape"]):
        raise CorruptError(f"it gives {scores.shape[1]} scores, {seal['shape'][1]} were sealed", where="seal")
    if _sha256(scores) == seal["scores_sha256"]:
        return
    if seal["machine"] == where:
        raise CorruptError("the scores are not, bit by bit, those that were sealed on a like machine", where="seal")
    raw = bytearray(base64.b64decode(seal["logprobs_float16"]))
    sealed = torch.log_softmax(torch.frombuffer(raw, dtype=torch.float16).float().view(scores.shape), dim=-1)
    ours = torch.log_softmax(scores, dim=-1)
    for number, (theirs, row) in enumerate(zip(sealed, ours, strict=True), start=1):
        distance = float((theirs.exp() * (theirs - row)).sum())
        # float16 may hold the two likeliest as equal: then either is right
        best = theirs[int(row.argmax())] == theirs.max()
        if not best or not distance <= most:
            raise CorruptError(
                f"prompt {number} of the parity seal is answered differently ({distance:.2g} nats away)", where="seal"
            )


def machine(device: torch.device) -> str:
    """What must be equal for bit-equal scores: torch, the instruction set that it dispatches to, threads, kernels."""
    if device.type == "cuda":
        return f"torch {torch.__version__}, {torch.cuda.get_device_name(device)}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {processor_name()}, {capability}, {torch.get_num_threads()} threads"


@torch.inference_mode()
def _scores(model: Transformer, tokenizer: Tokenizer) -> Tensor:
    """Scores (8, V) float32 of the token after each prompt; a prompt that the tokenizer cannot write is token 0.

    Of an encoder-decoder: of the token after the prompt, written by the decoder about the prompt. Of an encoder: those
    of its head in the middle of the prompt, or of its output for classes (8, C); of one without either the vector of
    the prompt (8, D).
    """
    prompts = prompts_of(tokenizer, model.spec.max_positions)
    return torch.stack([_said(model, torch.tensor([ids], device=_device(model))).float().cpu() for ids in prompts])


def _said(model: Transformer, ids: Tensor) -> Tensor:
    """The scores, or the vector, of one prompt (1, T)."""
    if model.spec.encoder is not None and model.spec.decoder is not None:
        hidden = model(
            torch.cat((torch.full_like(ids[:, :1], model.spec.start_token or 0), ids[:, :-1]), 1), sources=ids
        )
        return model.logits(hidden[:, -1])[0]
    hidden = model(ids)
    middle = hidden[:, hidden.shape[1] // 2]
    if model.head is not None:
        return model.logits(middle if model.spec.decoder is None else hidden[:, -1])[0]
    if "classify" in model.outputs:
        return model.output("classify", hidden)[0]
    if "tag" in model.outputs:
        return model.output("tag", hidden)[0, hidden.shape[1] // 2]
    vector: Tensor = hidden[0].mean(0)
    return vector


def _device(model: Transformer) -> torch.device:
    first: Tensor = next(iter(model.state_dict().values()))
    return first.device


def _sha256(scores: Tensor) -> str:
    return hashlib.sha256(scores.contiguous().numpy().tobytes()).hexdigest()
