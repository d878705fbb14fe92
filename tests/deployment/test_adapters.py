"""Adapters that come and go while the service answers, by its methods and over the API."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import torch

from lamina.contracts.inference import Chunk, Request, SamplingParams
from lamina.deployment.adapters import AdapterLimits
from lamina.deployment.registry import ModelRegistry
from lamina.deployment.service import ServingService
from lamina.interface.api.app import create_app
from lamina.interface.api.ports import ApiSettings, NoKeys
from lamina.interface.api.server import in_thread
from lamina.kit.database import Database
from lamina.kit.errors import InputError, ModelFileError, NotFoundError, RefusedError, TooLargeError
from lamina.model.checkpoint import open_model
from lamina.model.lora import add_lora, lora_parameters, save_lora
from lamina.testing import stand_ins

GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


def write_adapter(folder: Path, base: Path, seed: int, *, rank: int = 3, trained_on: str = "some/base") -> Path:
    model = open_model(base)
    add_lora(model, rank=rank, alpha=6.0)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter.normal_(std=0.4)
    save_lora(model, folder, base=trained_on)
    return folder


@dataclass
class Served:
    service: ServingService
    registry: ModelRegistry
    http: httpx.Client
    allowed: Path  # requests may name folders below it
    app: object


@pytest.fixture(scope="module")
def served(tmp_path_factory, tokenizer_folder) -> Iterator[Served]:
    """Two versions, two adapters in a folder of which requests may read, one outside, and a server."""
    from lamina.deployment.compress.quantize import save_served
    from lamina.model.checkpoint import copy_companions

    root = tmp_path_factory.mktemp("adapters")
    with Database.open(root / "lamina.db") as database, ExitStack() as stays:
        registry = ModelRegistry(database, root / "models")
        for seed in (1, 2):
            folder = root / f"v{seed}"
            save_served(_tiny(seed, tokenizer_folder), folder, like=None, quantize="none")
            copy_companions(tokenizer_folder, folder)
            registry.add(folder, role="documents")
        registry.promote("v1", because="first")
        allowed = root / "allowed"
        for number, name in enumerate(("legal", "poems")):
            write_adapter(allowed / name, root / "v1", number)
        write_adapter(root / "outside", root / "v1", 5)
        write_adapter(allowed / "high", root / "v1", 6, rank=9)
        write_adapter(allowed / "ours", root / "v1", 7, trained_on="0123456789abcdef" * 2)
        (allowed / "link").symlink_to(root / "outside")
        (allowed / "files").mkdir()
        for file in (root / "outside").iterdir():
            (allowed / "files" / file.name).symlink_to(file)
        limits = AdapterLimits(folders=(root / "none", allowed), most=2, most_rank=8, reserved=("pequod",))
        service = ServingService(registry, cache_mb=4, max_sequences=4, poll_s=0.02, adapters=limits)
        stays.callback(service.close)
        app = create_app(
            **stand_ins(
                service=service,
                releases=registry,
                keys=NoKeys(),
                settings=ApiSettings(name="pequod", grounding="weights only"),
                adapters=service,
            )
        )
        http = stays.enter_context(httpx.Client(base_url=stays.enter_context(in_thread(app)), timeout=30))
        yield Served(service, registry, http, allowed, app)


def _tiny(seed: int, tokenizer: Path):
    from lamina.model.architectures.gpt import llama
    from lamina.model.transformer import Transformer

    size = len(json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"])
    torch.manual_seed(seed)
    spec = llama(vocabulary=size, width=64, layers=2, heads=4, kv_heads=2, inner=96, max_positions=160)
    model = Transformer(spec).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.mul_(10.0 if "embeddings" in name else 12.0)
    return model


@pytest.fixture(autouse=True)
def _empty(served) -> Iterator[None]:
    yield
    for adapter in served.service.adapters():
        served.service.unload_adapter(adapter.name)


def ask(served: Served, model: str = "") -> list[int]:
    return [token for chunk in asyncio.run(_chunks(served, model)) for token in chunk.tokens]


async def _chunks(served: Served, model: str) -> list[Chunk]:
    request = Request(id=f"r{id(object())}", model=model, prompt=(1, 5, 7, 9), sampling=GREEDY)
    return [chunk async for chunk in served.service.stream(request)]


def test_an_adapter_is_a_model_of_its_own_name(served) -> None:
    plain = ask(served)
    for name in ("legal", "poems"):
        loaded = served.http.post(LOAD, json={"lora_name": name, "lora_path": str(served.allowed / name)})
        assert loaded.status_code == 200, loaded.text
    listed = {model["id"]: model for model in served.http.get("/v1/models").json()["data"]}
    assert listed["legal"]["parent"] == listed["poems"]["parent"] == "v1"
    assert served.http.get("/v1/models/poems").json() == listed["poems"]
    answers = {name: ask(served, name) for name in ("legal", "poems", "")}
    assert answers[""] == plain
    assert len({tuple(tokens) for tokens in answers.values()}) == 3
    body = {"prompt": [1, 5, 7, 9], "temperature": 0, "max_tokens": 12, "model": "legal"}
    answer = served.http.post("/v1/completions", json=body).json()
    assert answer["model"] == "legal"
    assert (
        answer["choices"][0]["text"]
        != served.http.post("/v1/completions", json=body | {"model": "v1"}).json()["choices"][0]["text"]
    )
    assert served.http.post(UNLOAD, json={"lora_name": "legal"}).status_code == 200
    assert served.http.post("/v1/completions", json=body).status_code == 404
    assert served.http.post(UNLOAD, json={"lora_name": "legal"}).status_code == 404


def test_one_that_is_unloaded_ends_what_runs(served) -> None:
    served.service.load_adapter("legal", "legal")
    whole = ask(served, "legal")

    async def interrupted() -> list[int]:
        request = Request(id="long", model="legal", prompt=(1, 5, 7, 9), sampling=GREEDY)
        tokens: list[int] = []
        async for chunk in served.service.stream(request):
            if not tokens:
                await asyncio.to_thread(served.service.unload_adapter, "legal")
            tokens += chunk.tokens
        return tokens

    assert asyncio.run(interrupted()) == whole
    with pytest.raises(NotFoundError):
        ask(served, "legal")


def test_an_adapter_stays_with_its_version(served) -> None:
    served.service.load_adapter("legal", "legal")
    before = ask(served, "legal")
    served.registry.promote("v2", because="better")
    try:
        for _ in range(1000):
            if served.service.version == "v2":
                break
            threading.Event().wait(0.02)
        chunks = asyncio.run(_chunks(served, "legal"))
        assert {chunk.version for chunk in chunks} == {"v1"}
        assert [token for chunk in chunks for token in chunk.tokens] == before
    finally:
        served.registry.promote("v1", because="back")
        while served.service.version != "v1":
            threading.Event().wait(0.02)


@pytest.mark.parametrize("path", ["../outside", "link", "files", "/etc", "nowhere", "", "a\0b", "{root}/outside"])
def test_only_folders_that_are_allowed_are_read(served, path: str) -> None:
    with pytest.raises(RefusedError, match="no folder of this path") as error:
        served.service.load_adapter("legal", path.format(root=served.allowed.parent))
    assert "outside" not in str(error.value), "it does not tell what there is"


@pytest.mark.parametrize("name", ["v2", "champion", "pequod", "a b", "-", "x" * 200])
def test_names_that_mean_something_else_are_refused(served, name: str) -> None:
    with pytest.raises(InputError):
        served.service.load_adapter(name, "legal")
    assert not served.service.adapters()


def test_count_rank_and_base_are_bounded(served) -> None:
    served.service.load_adapter("legal", "legal")
    with pytest.raises(InputError, match="already"):
        served.service.load_adapter("legal", "poems")
    first = ask(served, "legal")
    served.service.load_adapter("legal", "poems", replace=True)
    assert ask(served, "legal") != first
    with pytest.raises(TooLargeError, match="rank 9"):
        served.service.load_adapter("high", "high")
    with pytest.raises(ModelFileError, match="trained on the base 0123456789ab"):
        served.service.load_adapter("ours", "ours")
    served.service.load_adapter("poems", "poems")
    with pytest.raises(TooLargeError, match="2 adapters"):
        served.service.load_adapter("third", "legal")


def test_the_routes_are_the_administrators_and_know_their_fields(served) -> None:
    assert {served.app.state.routes.scope_of("POST", path) for path in (LOAD, UNLOAD)} == {"admin"}
    answer = served.http.post(LOAD, json={"lora_name": "legal", "lora_path": "legal", "rank": 3})
    assert (answer.status_code, "rank" in answer.text) == (400, True)
    assert served.http.post(LOAD, json={"lora_name": "legal", "lora_path": "../outside"}).status_code == 403
