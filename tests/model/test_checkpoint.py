from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lamina.kit.errors import ModelFileError, NotFoundError
from lamina.model.architectures.gpt import gpt2, llama
from lamina.model.checkpoint import open_model, save_model
from lamina.model.transformer import Transformer


def copy(folder: Path, target: Path) -> Path:
    target.mkdir()
    for name in ("config.json", "model.safetensors"):
        (target / name).write_bytes((folder / name).read_bytes())
    return target


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_load_save_load_is_bitwise(reference, any_variant, tmp_path, dtype):
    folder, _ = reference(any_variant)
    first = open_model(folder, dtype=dtype)
    save_model(first, tmp_path / "saved", like=folder)
    second = open_model(tmp_path / "saved", dtype=None)
    assert second.spec == first.spec
    assert next(second.parameters()).dtype == dtype
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_our_file_holds_their_tensors_bitwise(reference, any_variant, tmp_path):
    folder, _ = reference(any_variant)
    save_model(open_model(folder), tmp_path)
    theirs, ours = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert set(theirs) == set(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


@torch.no_grad()
def test_transformers_opens_ours_with_nothing_missing(reference, any_variant, tmp_path):
    folder, reference_model = reference(any_variant)
    save_model(open_model(folder), tmp_path)  # not like=folder: all that it needs must come from the specification
    theirs, info = type(reference_model).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    ids = torch.randint(0, 80, (2, 11))
    given = {"input_ids": ids} | ({"decoder_input_ids": ids[:, :7]} if theirs.config.is_encoder_decoder else {})
    for got, wanted in zip(theirs(**given).to_tuple(), reference_model(**given).to_tuple(), strict=True):
        if isinstance(got, torch.Tensor):
            assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    "spec", [llama(vocabulary=50, width=24, heads=2, layers=2), gpt2(vocabulary=50, width=24, heads=2)]
)
def test_a_fresh_model_is_opened_by_transformers(tmp_path, spec):
    import transformers

    ours = Transformer(spec).eval()
    save_model(ours, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.randint(0, 50, (1, 9))
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=ids).logits, ours.logits(ours(ids)), rtol=1e-5, atol=1e-5)


def test_what_belongs_to_the_model_goes_with_it(reference, tmp_path):
    folder = copy(reference("llama-tied")[0], tmp_path / "base")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "notes.txt").write_text("stays")
    edit_config(folder, eos_token_id=[5, 6])
    save_model(open_model(folder), tmp_path / "out", like=folder)
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"
    assert not (tmp_path / "out" / "notes.txt").exists()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == [5, 6]


def test_shards_are_read(reference, tmp_path):
    folder, theirs = reference("llama-untied")
    theirs.save_pretrained(tmp_path, max_shard_size="10KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    a, b = open_model(folder), open_model(tmp_path)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    next(tmp_path.glob("model-00002-*")).unlink()
    with pytest.raises(ModelFileError, match="model-00002"):
        open_model(tmp_path)


def test_old_gpt2_files_without_prefix_and_with_mask_buffers(reference, tmp_path):
    folder = copy(reference("gpt2")[0], tmp_path / "old")
    tensors = load_file(folder / "model.safetensors")
    old = {name.removeprefix("transformer."): t for name, t in tensors.items()}
    old |= {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    save_file(old, folder / "model.safetensors")
    a, b = open_model(reference("gpt2")[0]), open_model(folder)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_the_older_form_of_rope(reference, tmp_path):
    folder = copy(reference("llama-llama3")[0], tmp_path / "v4")
    config = json.loads((folder / "config.json").read_text())
    parameters = config.pop("rope_parameters")
    theta = parameters.pop("rope_theta")
    parameters["type"] = parameters.pop("rope_type")
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": theta, "rope_scaling": parameters}))
    assert open_model(folder).spec == open_model(reference("llama-llama3")[0]).spec


class TestTying:
    def with_head(self, reference, tmp_path: Path, change: float) -> Path:
        folder = copy(reference("llama-tied")[0], tmp_path / "head")
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + change
        save_file(tensors, folder / "model.safetensors")
        return folder

    def test_an_equal_copy_of_the_embedding_is_tied(self, reference, tmp_path):
        model = open_model(self.with_head(reference, tmp_path, 0.0))
        assert model.head.weight is model.stack.embeddings.token.weight

    def test_a_different_head_unties_with_a_warning(self, reference, tmp_path, caplog):
        folder = self.with_head(reference, tmp_path, 0.5)
        model = open_model(folder)
        assert "untied" in caplog.text
        assert not model.spec.head.tied
        torch.testing.assert_close(model.head.weight, model.stack.embeddings.token.weight + 0.5)
        save_model(model, tmp_path / "out", like=folder)
        assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
        assert torch.equal(open_model(tmp_path / "out").head.weight, model.head.weight)

    def test_an_untied_model_needs_its_head(self, reference, tmp_path):
        folder = copy(reference("llama-tied")[0], tmp_path / "none")
        edit_config(folder, tie_word_embeddings=False)
        with pytest.raises(ModelFileError, match=r"missing lm_head\.weight"):
            open_model(folder)


class TestBadFiles:
    @pytest.fixture
    def folder(self, reference, tmp_path: Path) -> Path:
        return copy(reference("llama-tied")[0], tmp_path / "bad")

    @pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
    def test_truncated(self, folder, keep):
        path = folder / "model.safetensors"
        data = path.read_bytes()
        path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
        with pytest.raises(ModelFileError, match=r"model\.safetensors"):
            open_model(folder)

    def test_garbage(self, folder):
        (folder / "model.safetensors").write_bytes(b"\xff" * 5000)
        with pytest.raises(ModelFileError, match=r"model\.safetensors"):
            open_model(folder)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_not_finite(self, folder, value):
        tensors = load_file(folder / "model.safetensors")
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = value
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(ModelFileError, match=r"model\.safetensors.*model\.layers\.1\.mlp\.up_proj\.weight"):
            open_model(folder)

    def test_wrong_shape(self, folder):
        edit_config(folder, intermediate_size=40)
        with pytest.raises(ModelFileError, match=r"mlp.*\(48, 32\).*\(40, 32\)|mlp.*\(32, 48\).*\(32, 40\)"):
            open_model(folder)

    def test_missing_and_unknown_are_both_listed(self, folder):
        tensors = load_file(folder / "model.safetensors")
        tensors["model.layers.0.novelty"] = tensors.pop("model.norm.weight")
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(ModelFileError, match=r"missing model\.norm\.weight.*unknown model\.layers\.0\.novelty"):
            open_model(folder)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"model_type": "mamba"}, "mamba.*llama.*gpt2"),
            ({"hidden_act": "snake"}, "snake"),
            ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "yarn.*default, linear, llama3"),
            ({"hidden_size": "wide"}, "hidden_size"),
            ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ],
    )
    def test_what_the_config_may_not_say(self, folder, changes, words):
        edit_config(folder, **changes)
        with pytest.raises(ModelFileError, match=words):
            open_model(folder)

    def test_config_that_is_not_json(self, folder):
        (folder / "config.json").write_text("{")
        with pytest.raises(ModelFileError, match=r"config\.json"):
            open_model(folder)

    def test_no_folder(self, tmp_path):
        with pytest.raises(NotFoundError):
            open_model(tmp_path / "nowhere")
