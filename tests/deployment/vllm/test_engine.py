"""vLLM itself, on this machine's processor; left out where it is not installed (`.bench/vllm`, see CONTRIBUTING).

One engine for all: it takes most of a minute to start.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lamina.contracts.chat import Message
from lamina.contracts.inference import Chunk, Constraint, Request, SamplingParams
from lamina.deployment.compress.quantize import open_served, save_served
from lamina.deployment.engine.admission import Standing
from lamina.deployment.engine.engine import Engine
from lamina.deployment.registry import ModelRegistry
from lamina.deployment.seal import make_seal
from lamina.deployment.service import ServingService
from lamina.deployment.vllm.engine import VllmEngine
from lamina.kit.database import Database
from lamina.kit.errors import ConfigError, DeadlineError, InputError, LaminaError, QueueFullError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.transformer import Transformer
from lamina.testing import Answer

pytest.importorskip("vllm")
GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
PROMPT = [40, 60, 80, 100, 120]


def widened(folder: Path, seed: int) -> None:
    """The model in ``folder`` anew, in int8 and with heads of 32, which vLLM's kernels for processors have."""
    spec = open_served(folder).spec
    blocks = tuple(replace(b, attention=replace(b.attention, head_dim=32)) for b in spec.decoder.blocks)
    torch.manual_seed(seed)
    model = Transformer(replace(spec, decoder=replace(spec.decoder, blocks=blocks))).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.mul_(12.0 if "embeddings" not in name else 10.0)
    (folder / "model.safetensors").unlink()
    save_served(model, folder, like=None, quantize="int8")


@pytest.fixture(scope="module")
def registry(tmp_path_factory, tokenizer_folder, save_tiny):
    place = tmp_path_factory.mktemp("vllm")
    with Database.open(place / "lamina.db") as database:
        registry = ModelRegistry(database, place / "models")
        for seed in (1, 2):
            folder = save_tiny(place / f"v{seed}", tokenizer_folder, seed, quantize="none", positions=512)
            widened(folder, seed)
            registry.add(folder, role="documents", seal=make_seal(folder))
        registry.promote("v1", because="first")
        yield registry


@pytest.fixture(scope="module")
def service(registry):
    """Two at a time, the others wait."""
    service = ServingService(registry, engine="vllm", max_sequences=2, queue_tokens=200, poll_s=0.2)
    yield service
    service.close()


@pytest.fixture
def engine(service) -> VllmEngine:
    found = service._loaded["v1"].serving
    assert isinstance(found, VllmEngine)
    return found


@pytest.fixture(scope="module")
def own(registry):
    """The same version by the house's own engine."""
    folder = registry.folder("v1")
    engine = Engine(open_served(folder), open_tokenizer(folder), version="v1", generation={"eos_token_id": 2})
    yield engine
    engine.close()


def ask(engine, name: str, sampling: SamplingParams = GREEDY, prompt: list[int] = PROMPT, **standing) -> Answer:
    answer = Answer()
    engine.submit(name, list(prompt), sampling, answer, standing=Standing(**standing))
    return answer


def both(engine: VllmEngine, own: Engine, sampling: SamplingParams) -> tuple[list[Chunk], list[Chunk]]:
    name = f"same {time.monotonic_ns()}"
    return ask(engine, name, sampling).chunks, ask(own, name, sampling).chunks


def test_it_answers_as_the_own_engine_does(engine, own) -> None:
    theirs, ours = both(engine, own, replace(GREEDY, logprobs=3))
    assert [c.tokens for c in theirs] == [c.tokens for c in ours]
    assert [c.text for c in theirs] == [c.text for c in ours]
    for their, our in zip(theirs, ours, strict=True):
        (found,), (known,) = their.logprobs, our.logprobs
        assert (found.token, found.text, found.raw) == (known.token, known.text, known.raw)
        assert found.logprob == pytest.approx(known.logprob, abs=0.02)
        assert [one.text for one in found.top] == [one.text for one in known.top]
    assert theirs[-1].usage == ours[-1].usage
    assert theirs[-1].mean_logprob == pytest.approx(ours[-1].mean_logprob, abs=0.02)
    assert (theirs[-1].finish_reason, theirs[-1].mean_entropy, theirs[-1].made) == ("length", None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"repetition_penalty": 1.8},
        {"presence_penalty": 2.0, "frequency_penalty": 1.0},
        {"logit_bias": ((50, 100.0),)},
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 1.0, "top_p": 1e-6},
        {"temperature": 1.0, "min_p": 1.0},
        {"ignore_eos": False, "logit_bias": ((2, 100.0),), "min_tokens": 4},
    ],
    ids=lambda change: " ".join(change),
)
def test_each_setting_means_the_same(engine, own, change) -> None:
    theirs, ours = both(engine, own, replace(GREEDY, **change))
    assert [c.tokens for c in theirs] == [c.tokens for c in ours]
    assert theirs[-1].finish_reason == ours[-1].finish_reason


def test_a_seed_draws_again_what_it_drew(engine) -> None:
    hot = replace(GREEDY, temperature=2.0, seed=7)
    first, again, other = (ask(engine, f"seed {i}", replace(hot, seed=s)).tokens for i, s in enumerate((7, 7, 8)))
    assert first == again
    assert first != other


def test_stop_strings_end_it_wherever_tokens_do(engine, own) -> None:
    whole = "".join(c.text for c in ask(own, "whole").chunks)
    stop = whole[3:6]
    theirs, ours = both(engine, own, replace(GREEDY, stop=(stop,)))
    assert "".join(c.text for c in theirs) == "".join(c.text for c in ours) == whole[: whole.index(stop)]
    assert theirs[-1].finish_reason == "stop"


def test_forms_are_kept_to(service) -> None:
    def answered(constraint: Constraint) -> tuple[str, str | None]:
        async def collect() -> list[Chunk]:
            sampling = SamplingParams(temperature=1.0, max_tokens=64, constraint=constraint)
            asked = Request(id=f"form {constraint.kind}", messages=(Message("user", "whale"),), sampling=sampling)
            return [chunk async for chunk in service.stream(asked)]

        chunks = asyncio.run(collect())
        return "".join(c.text for c in chunks), chunks[-1].finish_reason

    text, reason = answered(Constraint("regex", "[0-9]{3}(sea|ship)"))
    assert (text[:3].isdigit(), text[3:] in ("sea", "ship"), reason) == (True, True, "stop")
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    assert json.loads(answered(Constraint("json", json.dumps(schema)))[0])["a"] in (1, 2)
    assert answered(Constraint("grammar", 'start: "x" "y"'))[0] == "xy"
    with pytest.raises(InputError, match="response_format"):
        answered(Constraint("regex", "(unclosed"))


def test_who_waits_is_refused_dropped_and_served_in_turn(engine) -> None:
    long = replace(GREEDY, max_tokens=300)
    running = [ask(engine, f"long {i}", long) for i in range(2)]
    late = ask(engine, "late", timeout=0.3)
    gone = ask(engine, "gone")
    last = ask(engine, "last")
    full = ask(engine, "full", prompt=PROMPT * 30)
    with pytest.raises(QueueFullError):
        ask(engine, "one more", prompt=PROMPT * 30)
    with pytest.raises(InputError, match="is running"):
        ask(engine, "last")
    engine.abort("gone")
    assert isinstance(late.ended, DeadlineError)
    assert (engine.load().running, engine.load().cache_usage > 0) == (2, True)
    engine.abort("long 0")
    assert len(last.tokens) == 12
    assert len(full.tokens) == 12
    assert len(running[1].tokens) == 300
    assert not gone.items, "nothing more is delivered"
    assert not running[0].done.is_set()
    load = engine.load()
    assert (load.running, load.waiting, load.step_age) == (0, 0, None)


def test_a_deadline_ends_it_as_far_as_it_came(engine) -> None:
    ended = ask(engine, "short of time", replace(GREEDY, max_tokens=400), timeout=0.6).ended
    assert (ended.finish_reason, 0 < ended.usage.completion_tokens < 400) == ("deadline", True)


def test_prompts_computed_before_are_told_and_salts_keep_them_apart(engine) -> None:
    prompt = [10 + i % 250 for i in range(300)]
    cached = [
        ask(engine, f"cached {i}", prompt=prompt, salt=salt).ended.usage.cached_tokens
        for i, salt in enumerate(("mine", "mine", "yours"))
    ]
    assert (cached[0], cached[1] >= 128, cached[2]) == (0, True, 0)


def test_what_it_cannot_do_is_said(service, engine) -> None:
    with pytest.raises(InputError, match="context"):
        ask(engine, "too long", prompt=PROMPT * 200)
    with pytest.raises(InputError, match=r'answered by vLLM.*engine = "lamina"'):
        service.add_adapter("mine", Path("nowhere"))
    with pytest.raises(ConfigError, match=r"deployment\.deterministic"):
        ServingService(service._registry, engine="vllm", deterministic=True, device="cpu")


def test_another_device_and_a_model_that_it_cannot_read_are_told_in_a_line(engine, tmp_path) -> None:
    def start(**change) -> None:
        tokenizer = engine._admission._tokenizer
        VllmEngine(replace(engine._setting, **change), tokenizer, version="v9", vocabulary=328, generation={})

    with pytest.raises(LaminaError, match="this build of vLLM computes on cpu, the model is to be served on cuda"):
        start(device="cuda")
    with pytest.raises(LaminaError, match=r"vLLM [0-9.]+ cannot serve this model"):
        start(folder=tmp_path)


def test_the_champion_is_swapped_and_a_vllm_that_died_is_told(service, registry, engine) -> None:
    plain = engine._setting.folder
    assert plain.is_dir()
    registry.promote("v2", because="better")
    end = time.monotonic() + 300
    while service.version != "v2" or plain.exists():
        assert service.failure is None
        assert time.monotonic() < end
        time.sleep(0.2)
    with pytest.raises(LaminaError, match="unloaded"):
        ask(engine, "gone for good")
    fresh = service._loaded["v2"].serving
    assert ask(fresh, "new").chunks[-1].version == "v2"
    assert service.healthy()
    running = ask(fresh, "cut", replace(GREEDY, max_tokens=500))
    while not running.items:
        time.sleep(0.01)
    (process,) = fresh._library._engine.engine_core.resources.engine_manager.processes
    os.kill(process.pid, signal.SIGKILL)
    assert "vLLM has stopped" in str(running.ended)
    with pytest.raises(LaminaError, match="vLLM has stopped"):
        ask(fresh, "after it")
    assert not service.healthy(), "whoever watches starts it again"
    service.close()
    assert not fresh._thread.is_alive()
