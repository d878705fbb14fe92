"""Quantised models as GGUF files: the blocks of the file stand for the weights that are served, number for number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lamina.deployment.compress.gguf_blocks import served_weights
from lamina.deployment.compress.int4 import Int4Linear
from lamina.deployment.compress.quantize import dequantize, quantize, save_served
from lamina.kit.errors import InputError
from lamina.model.architectures.gpt import gpt2, llama
from lamina.model.checkpoint import open_model, save_model
from lamina.model.gguf import export_gguf, import_gguf
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer
from lamina.recipes.models import SERVED, export

SIZES = {"vocabulary": 257, "width": 64, "layers": 2, "heads": 4, "max_positions": 128}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    vocabulary = {"<|endoftext|>": 0} | {c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 1)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return folder


def made(spec: ModelSpec) -> Transformer:
    torch.manual_seed(1)
    model = Transformer(spec).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def without_minimums(model: Transformer) -> Transformer:
    """Its 4-bit layers in blocks of Q4_0."""
    for module in model.modules():
        if isinstance(module, Int4Linear):
            module.minimum = None
    return model


@pytest.mark.parametrize(
    ("form", "types"),
    [
        (lambda model: quantize(model, "int8"), {"F32", "Q8_0"}),
        (lambda model: quantize(model, "int4"), {"F32", "Q8_0", "Q4_1"}),
        (lambda model: without_minimums(quantize(model, "int4")), {"F32", "Q8_0", "Q4_0"}),
    ],
    ids=["int8", "int4", "without minimums"],
)
@pytest.mark.parametrize(
    "spec",
    [
        lambda: llama(**SIZES, inner=96, kv_heads=2),
        lambda: llama(**SIZES, inner=96, kv_heads=2, tied=False),
        lambda: gpt2(**SIZES),
    ],
    ids=["tied", "own head", "one product for queries, keys and values"],
)
def test_no_weight_is_rounded_again(
    tokenizer: Path,
    tmp_path: Path,
    spec: Callable[[], ModelSpec],
    form: Callable[[Transformer], Transformer],
    types: set[str],
) -> None:
    model = form(made(spec()))
    told = export_gguf(served_weights(model), model.spec, tokenizer, tmp_path / "m.gguf", kind="F32")
    assert set(told.types) == types
    import_gguf(tmp_path / "m.gguf", tmp_path / "back")
    again, plain = open_model(tmp_path / "back"), dequantize(model, torch.float32)
    assert again.spec == model.spec
    for (name, theirs), ours in zip(again.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(theirs, ours), name


def test_rows_of_no_whole_blocks_are_written_as_floats(tokenizer: Path, tmp_path: Path) -> None:
    spec = llama(**SIZES, inner=80, kv_heads=2)
    model = quantize(made(spec), "int8")
    model.stack.blocks[0].attention.o.scale[3] = 1e5  # more than float16 holds
    told = export_gguf(served_weights(model), spec, tokenizer, tmp_path / "m.gguf", kind="F32")
    assert told.types == {"F32": 5 + 3, "Q8_0": 12}  # norms; what reads the 80, and the one above
    import_gguf(tmp_path / "m.gguf", tmp_path / "back")
    plain = dequantize(model, torch.float32)
    for theirs, ours in zip(open_model(tmp_path / "back").parameters(), plain.parameters(), strict=True):
        assert torch.equal(theirs, ours)


def test_a_served_folder_is_exported_as_it_is(tokenizer: Path, tmp_path: Path) -> None:
    model = made(llama(**SIZES, inner=96, kv_heads=2))
    save_served(model, tmp_path / "served", like=None, quantize="int4", calibration="gptq")
    for file in tokenizer.iterdir():
        (tmp_path / "served" / file.name).write_bytes(file.read_bytes())
    export(tmp_path / "served", tmp_path / "m.gguf", type=SERVED)
    import_gguf(tmp_path / "m.gguf", tmp_path / "back")
    plain = dequantize(model, torch.float32)
    for theirs, ours in zip(open_model(tmp_path / "back").parameters(), plain.parameters(), strict=True):
        assert torch.equal(theirs, ours)
    with pytest.raises(InputError, match="known: F16, F32, Q8_0, Q4_0, served"):
        export(tmp_path / "served", tmp_path / "n.gguf", type="Q5_K")
    with pytest.raises(InputError, match=r"only a \.gguf file"):
        export(tmp_path / "served", tmp_path / "copy", type=SERVED)


def test_a_plain_folder_is_served_as_floats(tokenizer: Path, tmp_path: Path) -> None:
    model = made(llama(**SIZES, inner=96, kv_heads=2))
    save_model(model, tmp_path / "plain")
    for file in tokenizer.iterdir():
        (tmp_path / "plain" / file.name).write_bytes(file.read_bytes())
    written = [export(tmp_path / "plain", tmp_path / f"{type}.gguf", type=type) for type in (SERVED, "F16")]
    assert written[0].read_bytes() == written[1].read_bytes()
