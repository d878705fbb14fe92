"""Each family through GGUF and back, and as `transformers` reads the same file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers
from tokenizers import AddedToken, Regex, SentencePieceBPETokenizer, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from lamina.kit.errors import ModelFileError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.architectures.gpt import gpt2, llama, qwen2, qwen3, smollm3
from lamina.model.checkpoint import open_model
from lamina.model.families import family_of_config
from lamina.model.gguf import export_gguf, import_gguf
from lamina.model.gguf.forms import rope_divisors
from lamina.model.spec import ModelSpec, RotarySpec
from lamina.model.transformer import Transformer

TEXTS = (
    "the whale, 1851: the sea",
    "  two  spaces\n\nand lines",
    "naïve 日本 🎉 <0x41>",
    "Call me Ishmael. It is a way I have of driving off the spleen.",
)


def small(**changes: Any) -> ModelSpec:
    given = {"vocabulary": 300, "width": 64, "layers": 4, "heads": 4, "kv_heads": 2, "inner": 96, "max_positions": 128}
    return llama(**given | changes)


def gemma(**changes: Any) -> ModelSpec:
    config = {
        "model_type": "gemma3_text",
        "vocab_size": 300,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 7,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 8,
        "max_position_embeddings": 128,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
    }
    return family_of_config(config, "test").to_spec(config | changes, "test")


def scaled(spec: ModelSpec) -> ModelSpec:
    """With Llama 3's rotary scaling."""
    rotary = RotarySpec(theta=5e5, scaling="llama3", factor=8.0, low=1.0, high=4.0, original_positions=64)
    blocks = tuple(replace(b, attention=replace(b.attention, rotary=rotary)) for b in spec.stack.blocks)
    return replace(spec, decoder=replace(spec.stack, blocks=blocks))


FAMILIES: dict[str, Callable[[], ModelSpec]] = {
    "llama": small,
    "llama, its scaling": lambda: scaled(small(head_dim=32)),
    "qwen2": lambda: qwen2(small()),
    "qwen3": lambda: qwen3(small(head_dim=32)),
    "qwen3, untied": lambda: qwen3(small(tied=False)),
    "gemma3": gemma,
    "smollm3": lambda: smollm3(small()),
    "gpt2": lambda: gpt2(vocabulary=300, width=64, layers=3, heads=4, max_positions=128),
}


def random_model(spec: ModelSpec) -> Transformer:
    torch.manual_seed(1)
    model = Transformer(spec).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model


def weights(model: Transformer) -> dict[str, torch.Tensor]:
    return {n: t for n, t in model.state_dict().items() if n not in model.aliases}


def byte_level(folder: Path, *, pattern: str | None = None) -> Path:
    folder.mkdir()
    vocabulary = {"<|endoftext|>": 0} | {c: n for n, c in enumerate(sorted(pre.ByteLevel.alphabet()), 1)}
    vocabulary |= {"Ġt": 257, "he": 258, "Ġthe": 259}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ġ", "t"), ("h", "e"), ("Ġt", "he")]))
    backend.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    if pattern:
        split = pre.Split(Regex(pattern), "isolated")
        backend.pre_tokenizer = pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_end|>"])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"})
    )
    return folder


def pieces(folder: Path) -> Path:
    """A tokenizer in Gemma's form: SentencePiece's BPE with bytes, a space before nothing."""
    folder.mkdir()
    trained = SentencePieceBPETokenizer(add_prefix_space=False)
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{n:02X}>" for n in range(256))]
    trained.train_from_iterator([*TEXTS] * 4, vocab_size=340, special_tokens=special, show_progress=False)
    parsed = json.loads(trained.to_str())
    parsed["model"] |= {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True}
    parsed["added_tokens"] = [t for t in parsed["added_tokens"] if not t["content"].startswith("<0x")]
    backend = Tokenizer.from_str(json.dumps(parsed))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_tokens([AddedToken("\n\n", normalized=False)])
    backend.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def logits(model: Transformer, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.logits(model(ids))


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_comes_back(tmp_path: Path, name: str) -> None:
    model = random_model(FAMILIES[name]())
    export_gguf(weights(model), model.spec, byte_level(tmp_path / "t"), tmp_path / "m.gguf", kind="F16")
    told = import_gguf(tmp_path / "m.gguf", tmp_path / "back")
    again = open_model(tmp_path / "back")
    assert told.architecture == name.partition(",")[0]
    assert told.parameters == model.parameter_count
    assert again.spec == model.spec
    ids = torch.randint(300, (2, 24))
    torch.testing.assert_close(logits(again, ids), logits(model, ids), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma3", "gpt2"])
def test_transformers_reads_the_file_as_we_do(tmp_path: Path, name: str) -> None:
    model = random_model(FAMILIES[name]())
    export_gguf(weights(model), model.spec, byte_level(tmp_path / "t"), tmp_path / "m.gguf", kind="F16")
    import_gguf(tmp_path / "m.gguf", tmp_path / "back")
    theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(tmp_path / "back"))
    read = load_gguf_checkpoint(tmp_path / "m.gguf", return_tensors=True, model_to_load=theirs)["tensors"]
    missing, unexpected = theirs.eval().load_state_dict({n: torch.as_tensor(t) for n, t in read.items()}, strict=False)
    assert set(missing) <= {"lm_head.weight"}, "tied"
    assert not unexpected
    theirs.tie_weights()
    ids = torch.randint(300, (2, 24))
    with torch.no_grad():
        expected = theirs(input_ids=ids).logits
    torch.testing.assert_close(logits(open_model(tmp_path / "back"), ids), expected, rtol=1e-4, atol=1e-4)


def test_a_head_written_twice_is_tied(tmp_path: Path) -> None:
    model = random_model(FAMILIES["gpt2"]())
    table = weights(model)
    table["head.weight"] = table["decoder.embeddings.token.weight"].half().float()
    table["decoder.embeddings.token.weight"] = table["head.weight"]
    export_gguf(table, model.spec, byte_level(tmp_path / "t"), tmp_path / "m.gguf", kind="F16")
    import_gguf(tmp_path / "m.gguf", tmp_path / "back")
    again = open_model(tmp_path / "back")
    assert again.spec.head is not None
    assert again.spec.head.tied
    assert again.parameter_count == model.parameter_count


def test_norms_of_gemma_are_whole_in_the_file(tmp_path: Path) -> None:
    model = random_model(gemma())
    export_gguf(weights(model), model.spec, byte_level(tmp_path / "t"), tmp_path / "m.gguf", kind="F16")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    stored = {t.name: torch.from_numpy(t.data.copy()) for t in reader.tensors if t.name.endswith("norm.weight")}
    assert len(stored) == 6 * 7 + 1
    assert torch.equal(stored["output_norm.weight"], model.state_dict()["decoder.norm.weight"] + 1)
    assert reader.fields["gemma3.attention.sliding_window"].contents() == 8
    assert reader.fields["gemma3.rope.freq_base"].contents() == 1e6
    assert reader.fields["gemma3.rope.freq_base_swa"].contents() == 1e4


def test_the_scaling_of_llama_3_is_written_as_divisors(tmp_path: Path) -> None:
    model = random_model(scaled(small(head_dim=32)))
    export_gguf(weights(model), model.spec, byte_level(tmp_path / "t"), tmp_path / "m.gguf", kind="F16")
    (found,) = (t for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors if t.name == "rope_freqs.weight")
    assert found.data.shape == (16,)
    assert found.data[0] == 1.0, "short waves stay"
    assert found.data[-1] == pytest.approx(8.0), "long ones are stretched by the factor"
    # as llama.cpp's converter computes them, from the published formula
    rotary = model.spec.stack.blocks[0].attention.rotary
    assert rotary is not None
    waves = 2 * torch.pi * rotary.theta ** (torch.arange(0, 32, 2) / 32)
    smooth = ((rotary.original_positions / waves - 1) / (4 - 1)).clamp(0, 1)
    expected = 1 / ((1 - smooth) / 8 + smooth)
    torch.testing.assert_close(torch.from_numpy(rope_divisors(rotary, 32)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: smollm3(small(), every=3), "every 4th"),
        (lambda: gemma(sliding_window_pattern=3), "every 6th"),
        (lambda: gemma(query_pre_attn_scalar=48), "scale of its own"),
        (lambda: scaled(qwen2(small())), "Llama 3's rotary scaling in the family qwen2"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused(
    tmp_path: Path, make: Callable[[], ModelSpec], words: str
) -> None:
    model = random_model(make())
    with pytest.raises(ModelFileError, match=words):
        export_gguf(weights(model), model.spec, byte_level(tmp_path / "t"), tmp_path / "m.gguf", kind="F16")
    assert not (tmp_path / "m.gguf").exists()


class TestTokenizers:
    def back(self, tmp_path: Path, tokenizer: Path) -> Path:
        size = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).get_vocab_size()
        model = random_model(gemma(vocab_size=size, num_hidden_layers=1))
        export_gguf(weights(model), model.spec, tokenizer, tmp_path / "m.gguf", kind="F16")
        import_gguf(tmp_path / "m.gguf", tmp_path / "back")
        return tmp_path / "back"

    def test_pieces_with_scores(self, tmp_path: Path) -> None:
        folder = pieces(tmp_path / "t")
        ours, again = open_tokenizer(folder), open_tokenizer(self.back(tmp_path, folder))
        for text in TEXTS:
            assert again.encode(text) == ours.encode(text)
            assert again.decode(again.encode(text)) == text
        fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
        assert fields["tokenizer.ggml.model"].contents() == "llama"
        types = fields["tokenizer.ggml.token_type"].contents()
        assert (types.count(6), types.count(2), types.count(4)) == (256, 1, 1)
        assert not fields["tokenizer.ggml.add_space_prefix"].contents()

    def test_merges_without_an_order_by_pieces_are_refused(self, tmp_path: Path) -> None:
        folder = pieces(tmp_path / "t")
        parsed = json.loads((folder / "tokenizer.json").read_bytes())
        vocabulary = parsed["model"]["vocab"]
        for piece in ("X", "Y", "Z", "XY", "YZ", "XYZ"):
            vocabulary[piece] = len(vocabulary)
        parsed["added_tokens"] = [t for t in parsed["added_tokens"] if t["content"] != "\n\n"]  # it has the first id
        parsed["model"]["merges"] += [["X", "Y"], ["XY", "Z"], ["Y", "Z"], ["X", "YZ"]]
        (folder / "tokenizer.json").write_text(json.dumps(parsed))
        with pytest.raises(ModelFileError, match="merges of the piece 'XYZ' stand apart"):
            self.back(tmp_path, folder)

    def test_qwen_2_has_a_pre_tokenizer_of_its_own(self, tmp_path: Path) -> None:
        pattern = (
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
        folder = byte_level(tmp_path / "t", pattern=pattern)
        ours, again = open_tokenizer(folder), open_tokenizer(self.back(tmp_path, folder))
        for text in (*TEXTS, "e\u0301 12345", "I'm"):
            assert again.encode(text) == ours.encode(text)
        assert gguf.GGUFReader(tmp_path / "m.gguf").fields["tokenizer.ggml.pre"].contents() == "qwen2"
