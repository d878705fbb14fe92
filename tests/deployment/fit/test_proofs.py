"""What a start proved is not proved again while nothing changed, and is as soon as anything did."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from lamina.contracts.inference import SamplingParams
from lamina.deployment import loaded as loading
from lamina.deployment.engine import runner as running
from lamina.deployment.engine.choice import Proof
from lamina.deployment.engine.native import binding
from lamina.deployment.fit import proofs as proving
from lamina.deployment.fit.fitter import Fitter
from lamina.deployment.fit.proofs import Proofs, key_of
from lamina.deployment.load.objective import Objective
from lamina.deployment.loaded import load_version
from lamina.deployment.registry import ModelRegistry
from lamina.deployment.seal import make_seal
from lamina.kit.database import Database
from lamina.testing import Answer

BITS = "0f" * 32
GREEDY = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)
OPTIONS = {"cache_mb": 8, "block_tokens": 16}
pytestmark = pytest.mark.skipif(binding.open_library() is None, reason="there are no native kernels here")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch):
    """Proofs are kept although other tests run, and the native kernels are the faster ones."""
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr("lamina.deployment.engine.runner.faster", lambda *_: True)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def registry(tmp_path, model_folder):
    folder = model_folder(1)
    with Database.open(tmp_path / "lamina.db") as database:
        registry = ModelRegistry(database, tmp_path / "models")
        registry.add(folder, role="documents", seal=make_seal(folder))
        registry.promote("v1", because="first")
        yield registry


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is computed through torch while a version is loaded: its seal's scores, the trial of the kernels."""
    found: list[str] = []

    def told(name: str, whole):
        def call(*given, **more):
            found.append(name)
            return whole(*given, **more)

        return call

    monkeypatch.setattr(loading, "check_seal", told("seal", loading.check_seal))
    monkeypatch.setattr("lamina.deployment.engine.runner.agree", told("scores", running.agree))
    return found


@pytest.fixture
def answer(registry, tmp_path):
    """Load the champion as a fresh start does, and its answer to a prompt."""

    def start(**options) -> list[int]:
        fitter = Fitter(tmp_path / "machines", goal=Objective(), given={})
        found = load_version(registry, registry.resolve(""), {**OPTIONS, **options}, device="cpu", fitter=fitter)
        try:
            assert found.engine.runner.kernels == "native"
            told = Answer()
            found.engine.submit("a", [1, 5, 7], GREEDY, told)
            return told.tokens
        finally:
            found.serving.close()

    return start


def test_the_second_start_computes_nothing_through_torch_and_answers_alike(answer, checks) -> None:
    first = answer()
    assert checks == ["seal", "scores"]
    assert answer() == first
    assert checks == ["seal", "scores"]


@pytest.mark.parametrize(
    "change", ["cache", "deterministic", "torch", "library", "code", "processor", "threads", "files", "seal"]
)
def test_whatever_it_depends_on_is_in_its_key(change, monkeypatch) -> None:
    digest, seal, options = "d" * 64, {"scores_sha256": "s"}, dict(OPTIONS)
    before = key_of(digest, seal, options)
    assert key_of(digest, dict(seal), dict(options)) == before
    if change in ("cache", "deterministic"):
        options[change] = "int8"
    elif change == "torch":
        monkeypatch.setattr(torch, "__version__", "9.9")
    elif change == "library":
        monkeypatch.setattr(binding, "LIBRARY", Path(__file__))
    elif change == "code":
        monkeypatch.setattr(proving, "_code", lambda: "other")
    elif change == "processor":
        monkeypatch.setattr(proving, "processor_flags", lambda: "fpu")
    elif change == "threads":
        torch.set_num_threads(torch.get_num_threads() + 1)
    elif change == "files":
        digest = "e" * 64
    else:
        seal = {"scores_sha256": "t"}
    assert key_of(digest, seal, options) != before


@pytest.mark.parametrize(
    "kept", [b"", b"[]", b"{}", b'{"key": "other", "bits": "' + BITS.encode() + b'"}', b'{"key": "KEY", "bits": 5}']
)
def test_a_broken_or_foreign_proof_is_as_good_as_none(kept, answer, checks, tmp_path) -> None:
    first = answer()
    (file,) = (tmp_path / "machines").glob("proof-*.json")
    whole = file.read_bytes()
    file.write_bytes(kept.replace(b"KEY", json.loads(whole)["key"].encode()))
    assert answer() == first
    assert checks == ["seal", "scores"] * 2
    assert file.read_bytes() == whole


def test_kernels_that_give_other_bits_are_tried_again(answer, checks, tmp_path, caplog) -> None:
    first = answer()
    (file,) = (tmp_path / "machines").glob("proof-*.json")
    whole = file.read_bytes()
    file.write_text(json.dumps(json.loads(whole) | {"bits": BITS}))
    with caplog.at_level(logging.WARNING):
        assert answer() == first
    assert "checked anew" in caplog.text
    assert checks == ["seal", "scores"] * 2
    assert file.read_bytes() == whole


def test_without_the_library_a_proof_is_no_use(answer, checks, monkeypatch, registry, tmp_path) -> None:
    answer()
    monkeypatch.setattr(loading, "key_of", lambda *_: "k" * 64)  # as if nothing told that it is gone
    fitter = Fitter(tmp_path / "machines", goal=Objective(), given={})
    fitter.proofs.keep("k" * 64, Proof(BITS))
    monkeypatch.setattr(binding, "open_library", lambda: None)
    found = load_version(registry, registry.resolve(""), OPTIONS, device="cpu", fitter=fitter)
    try:
        assert found.engine.runner.kernels != "native"
        assert fitter.proofs.find("k" * 64) is None
        assert checks.count("seal") == 2
    finally:
        found.serving.close()


def test_a_proof_of_another_key_is_not_found(tmp_path) -> None:
    proofs = Proofs(tmp_path)
    proofs.keep("k" * 64, Proof(BITS))
    assert proofs.find("k" * 63 + "l") is None, "its file is of the same name"
    assert proofs.find("k" * 64) == Proof(BITS)


def test_what_was_measured_beside_other_work_is_not_kept(tmp_path, monkeypatch) -> None:
    proofs = Proofs(tmp_path)
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
    proofs.keep("k" * 64, Proof(BITS))
    assert proofs.find("k" * 64) is None
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    proofs.keep("k" * 64, Proof(BITS))
    assert proofs.find("k" * 64) == Proof(BITS)


def test_a_version_that_was_proved_lies_in_memory_of_its_own(answer, registry, tmp_path) -> None:
    answer()
    fitter = Fitter(tmp_path / "machines", goal=Objective(), given={})
    found = load_version(registry, registry.resolve(""), OPTIONS, device="cpu", fitter=fitter)
    try:
        assert "model.safetensors" not in Path("/proc/self/maps").read_text()
    finally:
        found.serving.close()
