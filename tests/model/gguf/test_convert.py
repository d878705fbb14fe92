from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize

from lamina.kit.errors import ModelFileError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.checkpoint import open_model
from lamina.model.evaluate.trust import check_ends
from lamina.model.gguf import import_gguf
from lamina.model.transformer import Transformer

WIDTH, LAYERS, HEADS, KV_HEADS, INNER = 64, 2, 4, 2, 96
QT = gguf.GGMLQuantizationType


def byte_alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


TOKENS = ["<|end|>", "<|im_start|>", "<|im_end|>", *byte_alphabet(), "Ġt", "he", "Ġthe", "<tool>"]
TYPES = [3, 3, 3, *[1] * 256, 1, 1, 1, 4]
MERGES = ["Ġ t", "h e", "Ġt he"]


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """The row order of llama.cpp's converter: from halves to interleaved pairs."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under llama.cpp's names, in the Hugging Face row order."""
    random = np.random.default_rng(seed)

    def make(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * 0.1).astype(np.float32)

    kv = WIDTH // HEADS * KV_HEADS
    named = {"token_embd.weight": make(len(TOKENS), WIDTH), "output_norm.weight": 1 + make(WIDTH)}
    for i in range(LAYERS):
        for name, shape in {
            "attn_norm": (WIDTH,),
            "ffn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (kv, WIDTH),
            "attn_v": (kv, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }.items():
            named[f"blk.{i}.{name}.weight"] = make(*shape)
    return named


def write_gguf(
    path: Path,
    tensors: dict[str, np.ndarray],
    *,
    kind: QT = QT.F32,
    architecture: str = "llama",
    pre: str = "smollm",
    changes: dict[str, Any] | None = None,
) -> None:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(5000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types(TYPES)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    for key, value in (changes or {}).items():
        writer.add_string(key, value) if isinstance(value, str) else writer.add_uint32(key, value)
    for name, values in tensors.items():
        heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(name.split(".")[-2], 0)
        stored = interleaved(values, heads) if heads else values
        if stored.ndim == 2 and kind is not QT.F32:
            writer.add_tensor(name, quantize(stored, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def opened(path: Path, folder: Path) -> Transformer:
    import_gguf(path, folder)
    return open_model(folder)


def test_weights_come_out_in_the_order_of_the_hugging_face_files(tmp_path):
    tensors = weights()
    write_gguf(tmp_path / "m.gguf", tensors)
    state = opened(tmp_path / "m.gguf", tmp_path / "hf").state_dict()
    for i in range(LAYERS):
        for theirs, ours in {"attn_q": "attention.q", "attn_k": "attention.k", "ffn_down": "feedforward.down"}.items():
            expected = torch.from_numpy(tensors[f"blk.{i}.{theirs}.weight"])
            assert torch.equal(state[f"decoder.blocks.{i}.{ours}.weight"], expected)
    assert torch.equal(state["head.weight"], torch.from_numpy(tensors["token_embd.weight"]))


@pytest.mark.parametrize("kind", [QT.F16, QT.BF16, QT.Q8_0, QT.Q4_0, QT.Q4_1, QT.Q5_0])
def test_each_type_gives_the_values_that_it_stands_for(tmp_path, kind):
    tensors = weights()
    write_gguf(tmp_path / "m.gguf", tensors, kind=kind)
    model = opened(tmp_path / "m.gguf", tmp_path / "hf")
    expected = dequantize(quantize(tensors["blk.1.ffn_up.weight"], kind), kind)
    assert np.array_equal(model.stack.blocks[1].feedforward.up.weight.numpy(force=True), expected)


def test_configuration_and_settings(tmp_path):
    write_gguf(tmp_path / "m.gguf", weights())
    facts = import_gguf(tmp_path / "m.gguf", tmp_path / "hf")
    assert (facts.name, facts.license, facts.architecture) == ("Tiny", "apache-2.0", "llama")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 5000.0}
    assert config["tie_word_embeddings"] is True
    generation = json.loads((tmp_path / "hf" / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    tokenizer = json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())
    assert "messages" in tokenizer["chat_template"]
    assert tokenizer["eos_token"] == "<|im_end|>"


def test_transformers_opens_the_folder(tmp_path):
    import transformers

    write_gguf(tmp_path / "m.gguf", weights())
    ours = opened(tmp_path / "m.gguf", tmp_path / "hf")
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not info["missing_keys"]
    ids = torch.randint(0, len(TOKENS), (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=ids).logits, ours.logits(ours(ids)), rtol=1e-5, atol=1e-5)


def test_a_head_of_its_own_is_untied(tmp_path):
    tensors = weights() | {"output.weight": weights(1)["token_embd.weight"]}
    write_gguf(tmp_path / "m.gguf", tensors)
    model = opened(tmp_path / "m.gguf", tmp_path / "hf")
    assert not model.spec.head.tied
    assert torch.equal(model.head.weight, torch.from_numpy(tensors["output.weight"]))


class TestTokenizer:
    def encode(self, tmp_path: Path, text: str, pre: str) -> list[str]:
        from tokenizers import Tokenizer

        write_gguf(tmp_path / "m.gguf", weights(), pre=pre)
        import_gguf(tmp_path / "m.gguf", tmp_path / "hf")
        tokenizer = Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
        encoded = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == text
        return encoded.tokens

    def test_merges_special_and_user_tokens(self, tmp_path):
        tokens = self.encode(tmp_path, "at the<|im_end|><tool>é", "smollm")
        assert tokens == ["a", "t", "Ġthe", "<|im_end|>", "<tool>", "Ã", "©"]

    def test_smollm_splits_off_digits(self, tmp_path):
        from tokenizers import Tokenizer

        self.encode(tmp_path, "x", "smollm")
        tokenizer = Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
        pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("in 2026")]
        assert pieces == ["in", "Ġ", "2", "0", "2", "6"]

    def test_llama3_groups_three_digits(self, tmp_path):
        from tokenizers import Tokenizer

        self.encode(tmp_path, "x", "llama-bpe")
        tokenizer = Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
        pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("a 12345 b")]
        assert pieces == ["a", "Ġ", "123", "45", "Ġb"]

    def test_an_unknown_pre_tokenizer_is_named(self, tmp_path):
        with pytest.raises(ModelFileError, match=r"'martian'.*known: .*smollm"):
            self.encode(tmp_path, "x", "martian")


class TestRefusals:
    def refuses(self, tmp_path: Path, words: str) -> None:
        with pytest.raises(ModelFileError, match=words) as caught:
            import_gguf(tmp_path / "m.gguf", tmp_path / "hf")
        assert "m.gguf" in str(caught.value)

    def test_unknown_architecture(self, tmp_path):
        write_gguf(tmp_path / "m.gguf", weights(), architecture="mamba")
        self.refuses(tmp_path, "mamba.*known: llama")

    def test_unknown_tensor(self, tmp_path):
        write_gguf(tmp_path / "m.gguf", weights() | {"blk.0.ssm_a.weight": np.ones(8, np.float32)})
        self.refuses(tmp_path, r"blk\.0\.ssm_a\.weight")

    def test_missing_tensor(self, tmp_path):
        tensors = weights()
        del tensors["blk.1.ffn_up.weight"]
        write_gguf(tmp_path / "m.gguf", tensors)
        self.refuses(tmp_path, r"blk\.1\.ffn_up\.weight' is missing")

    def test_wrong_shape(self, tmp_path):
        tensors = weights() | {"blk.1.ffn_up.weight": np.zeros((INNER + 1, WIDTH), np.float32)}
        write_gguf(tmp_path / "m.gguf", tensors)
        self.refuses(tmp_path, r"blk\.1\.ffn_up\.weight' has shape \(97, 64\); the header asks for \(96, 64\)")

    def test_divisors_that_are_not_llama_3s(self, tmp_path):
        divisors = np.linspace(1, 8, WIDTH // HEADS // 2, dtype=np.float32)
        write_gguf(tmp_path / "m.gguf", weights() | {"rope_freqs.weight": divisors})
        self.refuses(tmp_path, r"rope_freqs\.weight' is not the scaling of Llama 3")

    def test_type_that_cannot_be_expanded(self, tmp_path):
        write_gguf(tmp_path / "m.gguf", weights())
        data = bytearray((tmp_path / "m.gguf").read_bytes())
        name = b"blk.0.ffn_up.weight"
        at = data.index(name) + len(name) + 4 + 2 * 8  # after the dimensions
        assert struct.unpack_from("<I", data, at) == (0,)
        struct.pack_into("<I", data, at, 26)  # I32
        (tmp_path / "m.gguf").write_bytes(data)
        self.refuses(tmp_path, r"blk\.0\.ffn_up\.weight.*I32.*known: F32, F16, .*Q4_K")

    def test_nan(self, tmp_path):
        bad = weights()
        bad["blk.1.attn_v.weight"][3, 3] = np.nan
        write_gguf(tmp_path / "m.gguf", bad)
        self.refuses(tmp_path, r"blk\.1\.attn_v\.weight.*NaN")

    def test_other_rope_scaling(self, tmp_path):
        write_gguf(tmp_path / "m.gguf", weights(), changes={"llama.rope.scaling.type": "yarn"})
        self.refuses(tmp_path, "yarn")

    @pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
    def test_truncated(self, tmp_path, share):
        write_gguf(tmp_path / "m.gguf", weights())
        data = (tmp_path / "m.gguf").read_bytes()
        (tmp_path / "m.gguf").write_bytes(data[: int(len(data) * share)])
        self.refuses(tmp_path, "truncated")

    @pytest.mark.parametrize("at", [8, 16, 24])  # tensors, fields, length of the first key
    def test_counts_beyond_the_file(self, tmp_path, at):
        write_gguf(tmp_path / "m.gguf", weights())
        data = bytearray((tmp_path / "m.gguf").read_bytes())
        struct.pack_into("<Q", data, at, 2**64 - 1)
        (tmp_path / "m.gguf").write_bytes(data)
        self.refuses(tmp_path, "at byte")

    def test_dimensions_beyond_reason(self, tmp_path):
        write_gguf(tmp_path / "m.gguf", weights())
        data = bytearray((tmp_path / "m.gguf").read_bytes())
        name = b"blk.0.ffn_up.weight"
        struct.pack_into("<I", data, data.index(name) + len(name), 0xFFFFFFFF)
        (tmp_path / "m.gguf").write_bytes(data)
        self.refuses(tmp_path, "4294967295 dimensions")

    def test_something_else(self, tmp_path):
        (tmp_path / "m.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
        self.refuses(tmp_path, "not a GGUF file")


TEXT = (
    "Call me Ishmael. Some years ago - never mind how long precisely - having little or no money in my purse, and "
    "nothing particular to interest me on shore, I thought I would sail about a little and see the watery part of the "
    "world."
)


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory, material: Callable[[str], Path]) -> tuple[Path, Path]:
    """(the GGUF file, the folder made of it)."""
    file = next(material("smollm2").rglob("*.gguf"))
    folder = tmp_path_factory.mktemp("smollm2")
    import_gguf(file, folder)
    return file, folder


@pytest.mark.material
class TestSmolLM2:
    """The numbers were computed with `transformers` 5.23 reading the same GGUF file."""

    def test_nll_and_greedy_answer(self, smollm2):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(smollm2[1] / "tokenizer.json"))
        model = open_model(smollm2[1])
        ids = torch.tensor([tokenizer.encode(TEXT).ids])
        with torch.no_grad():
            nll = torch.nn.functional.cross_entropy(model.logits(model(ids))[0, :-1], ids[0, 1:])
            assert nll.item() == pytest.approx(4.68965, abs=1e-4)
            question = (
                "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
                "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
            )
            answer = tokenizer.encode(question).ids
            start = len(answer)
            while answer[-1] != 2:
                answer.append(int(model.logits(model(torch.tensor([answer]))[0, -1]).argmax()))
        assert answer[start:] == [504, 3575, 282, 4649, 314, 7042, 30, 2]
        assert tokenizer.decode(answer[start:]) == "The capital of France is Paris."

    def test_token_ids(self, smollm2):
        import transformers
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(smollm2[1] / "tokenizer.json"))
        digits = [788, 216, 34, 32, 34, 38, 28, 216, 33, 34, 35, 36, 37, 38, 39, 1495, 42]
        assert tokenizer.encode("In 2026, 1234567 things:").ids == digits
        theirs = transformers.AutoTokenizer.from_pretrained(smollm2[0].parent, gguf_file=smollm2[0].name)
        for text in (
            TEXT,
            "naïve café — “ok”\n\n\tdef f(x):\n    return x**2",
            "don't\r\n  stop",
            "日本語 🎉<|im_end|>",
        ):
            assert tokenizer.encode(text).ids == theirs(text).input_ids
        assert tokenizer.decode(tokenizer.encode(TEXT).ids) == TEXT

    def test_the_end_of_an_answer_is_learned_under_its_chat_template(self, smollm2):
        tokenizer = open_tokenizer(smollm2[1])
        assert tokenizer.chat_template is not None
        found = check_ends(tokenizer)[0]
        assert (found.verdict, found.measured) == ("pass", "4 of 4 answers under the model's own chat template")
