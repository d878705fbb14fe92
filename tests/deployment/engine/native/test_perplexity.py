"""A real model by the native kernels has the perplexity of the weights that they stand for, at every level."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from lamina.deployment.compress.quantize import dequantize, quantize
from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.place import Place
from lamina.deployment.engine.runner import Runner
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.checkpoint import open_model
from lamina.model.gguf import import_gguf

pytestmark = [
    pytest.mark.material,
    pytest.mark.skipif(native.open_library() is None, reason=f"native kernels: {native.describe()}"),
]
TOKENS = 96


@pytest.fixture(scope="module")
def base(material, tmp_path_factory) -> tuple[Path, list[int]]:
    """SmolLM2-135M, and the beginning of a novel as its tokens."""
    folder = tmp_path_factory.mktemp("smollm2")
    import_gguf(next(material("smollm2").rglob("*.gguf")), folder)
    text = next(material("moby-dick").rglob("data.txt")).read_text()[20_000:22_000]
    return folder, open_tokenizer(folder).encode(text)[: TOKENS + 1]


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_native_perplexity_is_that_of_the_weights(base, bits, monkeypatch) -> None:
    folder, ids = base
    model = quantize(open_model(folder), bits)
    plain = dequantize(model, torch.float32)
    with torch.inference_mode():
        expected = _nats(plain.logits(plain(torch.tensor([ids])))[0, :-1], ids)
    for level in native.LEVELS[: native.best_level(-1) + 1]:
        monkeypatch.setenv("LAMINA_NATIVE_LEVEL", level)
        run = Runner(model, blocks=TOKENS // 16, block_tokens=16, context=TOKENS, kernels="native")
        scores = torch.cat([run.check(ids[n : n + 32], Place(range(TOKENS // 16), n)) for n in range(0, TOKENS, 32)])
        run.close()
        assert math.exp(abs(_nats(scores, ids) - expected)) < 1.0005, level


def _nats(scores: torch.Tensor, ids: list[int]) -> float:
    """A token, of the text after its first."""
    return float(F.cross_entropy(scores, torch.tensor(ids[1:])))
