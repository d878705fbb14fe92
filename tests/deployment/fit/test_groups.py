"""Real control groups: an engine in a child process whose quota and memory limit change while it answers.

Needs the right to make groups (root, controllers of cgroups 1 mounted, or of 2 handed down); elsewhere it is skipped.
Only groups of its own are made, below those that the test runs in.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

MB = 2**20
#: A random model with much to keep for a token, in an engine that is asked again and again; JSON lines say what is.
CHILD = """
import json, random, sys, threading, time
from pathlib import Path
import torch
from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.engine import Engine
from lamina.deployment.fit import fitter as fitting
from lamina.deployment.fit.follower import Follower
from lamina.deployment.load.objective import Objective
from lamina.kit.errors import LaminaError
from lamina.model.spec import *
from lamina.model.transformer import Transformer

class Tokenizer:
    vocabulary, end_ids = 512, ()
    def stream(self): return self
    def push(self, token): return "."
    def finish(self): return ""
    def decode(self, tokens): return "." * len(tokens)

norm = NormSpec(kind="rms", eps=1e-5)
block = BlockSpec(
    attention=AttentionSpec(heads=8, kv_heads=8, head_dim=64, rotary=RotarySpec()),
    feedforward=FeedForwardSpec(inner=64, activation="silu", gated=True), norm=norm)
spec = ModelSpec(decoder=StackSpec(
    embeddings=EmbeddingSpec(vocabulary=512, width=64), blocks=(block,) * 4, norm=norm, causal=True),
    head=HeadSpec(tied=True), max_positions=2048)
fitting.os.getloadavg = lambda: (0.0, 0.0, 0.0)
fitter = fitting.Fitter(Path(sys.argv[1]), goal=Objective(), given={"max_sequences": 64})
model = Transformer(spec).eval().requires_grad_(False)
engine = Engine(model, Tokenizer(), version="v1", **fitter.options(model, {}))
fitter.fit(engine, "v1")
follower = Follower(fitter, lambda: {"v1": engine})
counts = {"done": 0, "failed": 0}

def ask():
    draw = random.Random(1)
    while True:
        ended = threading.Event()
        def receive(item):
            if isinstance(item, LaminaError) or item.finish_reason:
                counts["failed" if isinstance(item, LaminaError) else "done"] += 1
                ended.set()
        prompt = [draw.randrange(512) for _ in range(300)]
        try:
            engine.submit(str(time.monotonic_ns()), prompt, SamplingParams(temperature=0.0, max_tokens=2), receive)
            ended.wait()
        except LaminaError as error:
            receive(error)
        time.sleep(0.1)

threading.Thread(target=ask, daemon=True).start()
while True:
    cache, fit = engine.cache(), fitter.fits["v1"]
    print(json.dumps(counts | {
        "threads": fit.limits.processors, "memory": fit.limits.memory, "capped": fit.limits.capped,
        "held": cache.touched * cache.block_bytes, "may": cache.limit * cache.block_bytes}), flush=True)
    time.sleep(0.1)
"""


def load_groups() -> ModuleType:
    """``benchmarks/groups.py``, which is no package."""
    file = Path(__file__).resolve().parents[3] / "benchmarks" / "groups.py"
    spec = importlib.util.spec_from_file_location("groups", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def group() -> Iterator[Any]:
    try:
        made = load_groups().Group("test", processors=1, memory=900 * MB)
    except OSError as error:
        pytest.skip(f"no control groups can be made here: {error}")
    yield made
    made.close()


class Child:
    """The program above, in ``group``."""

    def __init__(self, group: Any, folder: Path) -> None:
        code = "import sys; sys.stdin.readline()\n" + CHILD
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", code, str(folder)], text=True, **pipe)  # type: ignore[call-overload]
        group.enter(self.process.pid)
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def said(self) -> dict[str, int]:
        line = self.process.stdout.readline()
        assert line, f"the child ended: {self.process.wait()}"
        return json.loads(line)

    def until(self, condition, seconds: float) -> dict[str, int]:
        """What the child says when ``condition`` holds of it."""
        end = time.monotonic() + seconds
        while not condition(said := self.said()):
            assert time.monotonic() < end, f"it did not come to pass: {said}"
        assert said["failed"] == 0
        return said


def test_an_engine_follows_its_quota_and_its_memory_limit(group: Any, tmp_path: Path) -> None:
    child = Child(group, tmp_path)
    try:
        first = child.until(lambda said: said["done"] > 0, 60)
        assert (first["threads"], first["memory"], first["capped"]) == (1, 900 * MB, True)
        assert first["may"] < 700 * MB, "beside the process there is no more"
        if len(os.sched_getaffinity(0)) > 1:
            group.limit_processors(2.0)
            child.until(lambda said: said["threads"] == 2, 10)
            group.limit_processors(1.5)
            child.until(lambda said: said["threads"] == 1, 10)
            group.limit_processors(2.0)
        full = child.until(lambda said: said["held"] > 100 * MB, 60)
        # The kernel cannot take what is held: the limit comes down in steps, as long as the cache follows.
        target = group.used() - 60 * MB
        end = time.monotonic() + 30
        while (size := max(target, int(1.05 * group.used()))) > target and time.monotonic() < end:
            with suppress(OSError):
                group.limit_memory(size // MB * MB)
            child.said()
        group.limit_memory(target // MB * MB)
        small = child.until(lambda said: said["memory"] == target // MB * MB, 10)
        assert small["held"] < full["held"] - 30 * MB
        assert small["may"] >= 16 * MB, "1,024 tokens stay, however short memory is"
        after = child.until(lambda said: said["done"] >= small["done"] + 3, 30)
        assert after["held"] < full["held"]
        group.limit_memory(1500 * MB)
        child.until(lambda said: said["may"] > small["may"] + 100 * MB, 10)
    finally:
        child.process.kill()
        child.process.wait()
        child.process.stdin.close()
        child.process.stdout.close()
