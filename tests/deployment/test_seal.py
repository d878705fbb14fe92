from __future__ import annotations

import json

import pytest
import torch

from lamina.deployment import loaded
from lamina.deployment import seal as sealing
from lamina.deployment.compress.quantize import dequantize, open_served
from lamina.deployment.registry import folder_digest
from lamina.deployment.seal import check_seal, make_seal
from lamina.kit.errors import CorruptError
from lamina.kit.tokenizer import open_tokenizer


@pytest.mark.parametrize("quantize", ["int8", "none"])
def test_the_same_model_passes(quantize, model_folder) -> None:
    folder = model_folder(quantize=quantize)
    seal = json.loads(json.dumps(make_seal(folder)))
    check_seal(open_served(folder), open_tokenizer(folder), seal, digest=folder_digest(folder))


def test_another_model_does_not(model_folder) -> None:
    one, other = model_folder(1), model_folder(2)
    seal = make_seal(one)
    with pytest.raises(CorruptError, match="bit by bit"):
        check_seal(open_served(other), open_tokenizer(other), seal)
    with pytest.raises(CorruptError, match="other files"):
        check_seal(open_served(one), open_tokenizer(one), seal, digest=folder_digest(other))
    with pytest.raises(CorruptError, match="format"):
        check_seal(open_served(one), open_tokenizer(one), {"format": 9})


def test_on_another_machine_small_differences_pass_and_large_ones_do_not(model_folder, monkeypatch) -> None:
    folder = model_folder()
    seal = make_seal(folder) | {"machine": "elsewhere"}
    tokenizer = open_tokenizer(folder)
    truth = sealing._scores(open_served(folder), tokenizer)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(sealing, "_scores", lambda *_: truth + 0.001 * noise)
    check_seal(open_served(folder), tokenizer, seal)
    monkeypatch.setattr(sealing, "_scores", lambda *_: truth + 0.3 * noise)
    with pytest.raises(CorruptError, match="prompt"):
        check_seal(open_served(folder), tokenizer, seal)
    monkeypatch.setattr(sealing, "_scores", lambda *_: truth * float("nan"))
    with pytest.raises(CorruptError, match="prompt"):
        check_seal(open_served(folder), tokenizer, seal)


def test_one_flipped_weight_bit_breaks_it(model_folder) -> None:
    folder = model_folder()
    seal = make_seal(folder)
    model = open_served(folder)
    model.stack.blocks[0].attention.q.weight[3, 5] ^= 64
    with pytest.raises(CorruptError):
        check_seal(model, open_tokenizer(folder), seal)


@pytest.mark.parametrize("wrecked", [False, True])
def test_a_model_that_answers_otherwise_on_a_gpu_is_served_on_the_processor(
    wrecked, model_folder, monkeypatch, caplog
) -> None:
    folder = model_folder()
    seal, tokenizer = make_seal(folder), open_tokenizer(folder)
    on_gpu = dequantize(open_served(folder), torch.float32)
    if wrecked:
        on_gpu.stack.blocks[0].feedforward.up.weight.mul_(-1)
    monkeypatch.setattr(sealing, "machine", lambda device: "a GPU")
    served = loaded._sealed(on_gpu, tokenizer, seal, folder, "v1")
    assert (served is on_gpu) != wrecked
    assert ("v1 answers differently on the GPU" in caplog.text) == wrecked
