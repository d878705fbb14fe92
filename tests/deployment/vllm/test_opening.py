"""Which engine answers, and what is said where it is not the one that was asked for."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from lamina.contracts.lineage import ModelVersion
from lamina.deployment.compress.quantize import dequantize, open_served
from lamina.deployment.loaded import load_version
from lamina.deployment.registry import ModelRegistry
from lamina.deployment.seal import make_seal
from lamina.deployment.service import ServingService
from lamina.deployment.vllm import opening
from lamina.deployment.vllm.opening import open_by_vllm, write_plain
from lamina.kit.database import Database
from lamina.kit.errors import ConfigError, LaminaError
from lamina.kit.tokenizer import open_tokenizer

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def taken(model_folder, monkeypatch):
    """``taken(wanted, device, installed=…, **options)``: what ``open_by_vllm`` says."""
    folder = model_folder(1)

    def ask(wanted, device, *, installed: bool = True, **options):
        monkeypatch.setattr(opening, "is_installed", lambda: installed)
        about = {"version": "v1", "seal": {}, "options": options, "generation": {}, "device": device}
        return open_by_vllm(wanted, open_served(folder), open_tokenizer(folder), folder, **about)

    return ask


def test_the_own_engine_answers_on_a_processor_unless_vllm_is_named(taken, caplog) -> None:
    assert taken("lamina", GPU) is None
    assert taken("auto", CPU) is None
    assert not caplog.messages, "nothing to be said"


def test_without_vllm_auto_says_so_and_its_name_is_refused_with_the_remedy(taken, caplog) -> None:
    assert taken("auto", GPU, installed=False) is None
    assert caplog.messages == ["v1 is answered by Lamina's own engine, not by vLLM: vLLM is not installed"]
    with pytest.raises(ConfigError, match=r"deployment\.engine: vLLM is not installed \(pip install vllm"):
        taken("vllm", CPU, installed=False)


@pytest.mark.parametrize(
    ("name", "value"), [("deterministic", True), ("draft", Path("small")), ("cache", "int8")], ids=lambda v: str(v)
)
def test_what_only_the_own_engine_does_is_refused_by_name(taken, caplog, name, value) -> None:
    with pytest.raises(ConfigError) as refused:
        taken("vllm", CPU, **{name: value})
    assert (refused.value.where, refused.value.hint) == (f"deployment.{name}", 'engine = "lamina"')
    assert taken("auto", GPU, **{name: value}) is None
    assert "Lamina's own engine" in caplog.messages[0]


def test_a_quantised_model_is_multiplied_out_as_transformers_reads_it(model_folder, tmp_path) -> None:
    folder = model_folder(1)
    served = open_served(folder)
    write_plain(served, tmp_path / "plain", like=folder, dtype=torch.float32)
    assert "quantization_config" not in json.loads((tmp_path / "plain" / "config.json").read_text())
    assert open_tokenizer(tmp_path / "plain").encode("the whale") == open_tokenizer(folder).encode("the whale")
    theirs, ids = AutoModelForCausalLM.from_pretrained(tmp_path / "plain"), torch.tensor([[5, 60, 7, 80]])
    with torch.inference_mode():
        plain = dequantize(served, torch.float32)
        torch.testing.assert_close(theirs(ids).logits, plain.logits(plain(ids)), atol=1e-3, rtol=1e-4)


def test_where_it_cannot_start_no_folder_is_left(taken, tmp_path, monkeypatch) -> None:
    seen: list[Path] = []

    def refuse(setting, *_, **__):
        seen.append(setting.folder)
        assert (setting.folder / "model.safetensors").is_file()
        raise LaminaError("vLLM cannot serve this model: no such kernel")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(opening, "VllmEngine", refuse)
    with pytest.raises(ConfigError, match=r"deployment\.engine: vLLM cannot serve .*no such kernel \(engine ="):
        taken("vllm", CPU)
    assert seen
    assert not list(tmp_path.glob("lamina-vllm-*"))


def test_the_name_reaches_the_loading_of_a_version(model_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(opening, "is_installed", lambda: False)
    with Database.open(tmp_path / "lamina.db") as database:
        registry = ModelRegistry(database, tmp_path / "models")
        folder = model_folder(1)
        version: ModelVersion = registry.add(folder, role="documents", seal=make_seal(folder))
        registry.promote("v1", because="first")
        with pytest.raises(ConfigError, match="vLLM is not installed"):
            load_version(registry, version, {"engine": "vllm"})
        with pytest.raises(ConfigError, match="vLLM is not installed"):
            ServingService(registry, engine="vllm")
        service = ServingService(registry, engine="auto", device="cpu", cache_mb=4)
        try:
            assert service._engines()["v1"].version == "v1", "the own engine"
        finally:
            service.close()
