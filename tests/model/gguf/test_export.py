"""Model folders as GGUF files: read back by our own reader, and by the `gguf` package's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lamina.kit.errors import ModelFileError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.architectures.gpt import gpt2, llama, qwen2, qwen3
from lamina.model.checkpoint import open_model
from lamina.model.gguf import export_gguf, import_gguf
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer

TEXT = "the whale, 1851: the sea"


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    vocabulary = {"<|endoftext|>": 0} | {c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 1)}
    vocabulary |= {"Ġt": 257, "he": 258, "Ġthe": 259}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ġ", "t"), ("h", "e"), ("Ġt", "he")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_end|>"])
    backend.save(str(folder / "tokenizer.json"))
    settings = {
        "eos_token": "<|im_end|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": "{{ messages[0]['content'] }}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def llama_spec(**changes: Any) -> ModelSpec:
    given = {"vocabulary": 261, "width": 64, "layers": 2, "heads": 4, "kv_heads": 2, "inner": 96, "max_positions": 128}
    return llama(**given | changes)


def weights(spec: ModelSpec) -> tuple[Transformer, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    model = Transformer(spec).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model, {n: t for n, t in model.state_dict().items() if n not in model.aliases}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("kind", "close"), [("F16", 1e-3), ("Q8_0", 1e-2), ("Q4_0", 0.15)])
def test_a_llama_comes_back(tokenizer: Path, tmp_path: Path, kind: Any, close: float, tied: bool) -> None:
    model, named = weights(llama_spec(tied=tied))
    told = export_gguf(named, model.spec, tokenizer, tmp_path / "m.gguf", kind=kind)
    assert told.architecture == "llama"
    assert told.bytes == (tmp_path / "m.gguf").stat().st_size
    assert set(told.types) == {"F32", kind}
    import_gguf(tmp_path / "m.gguf", tmp_path / "back")
    again = open_model(tmp_path / "back")
    assert again.spec == model.spec
    for (name, a), b in zip(model.named_parameters(), again.parameters(), strict=True):
        assert (a - b).abs().mean() < close * a.abs().mean(), name
    ids = open_tokenizer(tokenizer).encode(TEXT)
    assert open_tokenizer(tmp_path / "back").encode(TEXT) == ids
    assert open_tokenizer(tmp_path / "back").chat_template == open_tokenizer(tokenizer).chat_template


@pytest.mark.parametrize(
    ("make", "name"),
    [(lambda: qwen2(llama_spec()), "qwen2"), (lambda: qwen3(llama_spec(head_dim=32)), "qwen3"),
     (lambda: gpt2(vocabulary=261, width=64, layers=2, heads=4, max_positions=128), "gpt2")],
)  # fmt: skip
def test_other_families_have_every_tensor(
    tokenizer: Path, tmp_path: Path, make: Callable[[], ModelSpec], name: str
) -> None:
    model, named = weights(make())
    export_gguf(named, model.spec, tokenizer, tmp_path / "m.gguf", kind="F16")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert reader.fields["general.architecture"].contents() == name
    known = {
        gguf.TENSOR_NAMES[t].format(bid=i) for t in gguf.MODEL_TENSORS[gguf.MODEL_ARCH[name.upper()]] for i in (0, 1)
    }
    names = {tensor.name.rsplit(".", 1)[0] for tensor in reader.tensors}
    assert names <= known
    assert sum(tensor.n_elements for tensor in reader.tensors) == model.parameter_count


def test_small_numbers_are_written_as_they_are(tokenizer: Path, tmp_path: Path) -> None:
    model, named = weights(llama_spec(theta=5e5, eps=1e-6))
    export_gguf(named, model.spec, tokenizer, tmp_path / "m.gguf", kind="Q4_0")
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert fields["llama.rope.freq_base"].contents() == 5e5
    assert fields["llama.attention.layer_norm_rms_epsilon"].contents() == np.float32(1e-6)
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 260
    assert not fields["tokenizer.ggml.add_bos_token"].contents()


def test_what_llama_cpp_has_no_form_for_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    model, named = weights(llama_spec())
    with pytest.raises(ModelFileError, match=r"Q2_K.*F16"):
        export_gguf(named, model.spec, tokenizer, tmp_path / "m.gguf", kind="Q2_K")  # type: ignore[arg-type]
    parsed = json.loads((tokenizer / "tokenizer.json").read_text())
    parsed["pre_tokenizer"] = {"type": "Whitespace"}
    (tokenizer / "tokenizer.json").write_text(json.dumps(parsed))
    with pytest.raises(ModelFileError, match="pre-tokenizer"):
        export_gguf(named, model.spec, tokenizer, tmp_path / "m.gguf", kind="F16")
    (tokenizer / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match=r"tokenizer\.json"):
        export_gguf(named, model.spec, tokenizer, tmp_path / "m.gguf", kind="F16")
