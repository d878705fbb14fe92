"""``lamina serve --explain``, and a server that fits itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from prometheus_client import CollectorRegistry

from lamina.contracts.inference import Request, SamplingParams
from lamina.deployment.fit import fitter as fitting
from lamina.deployment.registry import ModelRegistry
from lamina.kit.database import Database
from lamina.kit.errors import InputError
from lamina.recipes.fitting import explain
from lamina.recipes.serve import _service
from lamina.recipes.stack import Stack, open_stack

FILE = """
name = "fitted"
[model]
base = "models/base"
[deployment]
slo = "ttft=300ms,itl=30ms"
"""


@pytest.fixture
def stack(tmp_path, model_folder, monkeypatch) -> Iterator[Stack]:
    """With a champion; threads are as they were afterwards."""
    monkeypatch.setattr(fitting.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    threads = torch.get_num_threads()
    (tmp_path / "lamina.toml").write_text(FILE)
    opened = open_stack(tmp_path / "lamina.toml")
    opened.state.mkdir()
    with Database.open(opened.database) as database:
        registry = ModelRegistry(database, opened.state / "models")
        registry.add(model_folder(1), role="documents")
        registry.add(model_folder(2), role="documents")
        registry.promote("v1", because="first")
    yield opened
    torch.set_num_threads(threads)


def test_it_says_what_bounds_and_what_was_chosen(stack: Stack) -> None:
    told = explain(stack, as_json=True)
    json.dumps(told)
    assert told["version"] == "v1"
    assert told["goal"]["itl"] == 0.03
    assert told["roofline"]["bytes_per_token"] > 0
    assert told["rates"]["measured_now"]
    text = explain(stack, as_json=False)
    assert "measured before" in text
    for words in ("version   v1", "roofline", "chosen", "cache", "more      cores:", "memory:"):
        assert words in text


def test_a_server_fits_itself_and_every_version_that_it_loads(stack: Stack) -> None:
    with Database.open(stack.database) as database:
        service = _service(stack, ModelRegistry(database, stack.state / "models"), CollectorRegistry())
        try:
            for name in ("champion", "v2"):
                asked = Request(id=name, model=name, prompt="the whale", sampling=SamplingParams(max_tokens=4))

                async def ask(asked: Request = asked) -> list[str]:
                    return [chunk.version async for chunk in service.stream(asked)]

                assert asyncio.run(ask())
            fits = service._fitter.fits
            assert {version: fit.measured for version, fit in fits.items()} == {"v1": True, "v2": False}, "of one form"
            assert service.context == fits["v1"].context
        finally:
            service.close()
    assert len(list((stack.state / "machines").glob("serving-*"))) == 1


@pytest.mark.parametrize(
    "key", ["deployment.slo=soon", "deployment.slo=itl=fast", "deployment.threads=0", "deployment.context=15"]
)
def test_a_goal_that_is_none_is_refused(stack: Stack, key: str) -> None:
    with pytest.raises(InputError, match=key.split("=")[0]):
        open_stack(Path(stack.file), [key])
