"""Versions that answer whole texts: the registry, the seal, the swap, and the answer to a chat."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from lamina.contracts.chat import Message
from lamina.contracts.inference import Request
from lamina.contracts.texts import Writing
from lamina.deployment.compress.quantize import open_served
from lamina.deployment.engine.native.binding import describe, open_library
from lamina.deployment.registry import ModelRegistry, folder_digest
from lamina.deployment.seal import check_seal, make_seal
from lamina.deployment.service import ServingService
from lamina.kit.database import Database
from lamina.kit.errors import CorruptError, InputError
from lamina.kit.tokenizer import open_tokenizer

KINDS = ("masked", "classes", "tags", "decoder", "writer")


@pytest.fixture
def registry(tmp_path, folders):
    with Database.open(tmp_path / "lamina.db") as database:
        registry = ModelRegistry(database, tmp_path / "models")
        for name in ("masked", "other", "writer"):
            folder = getattr(folders, name)
            registry.add(folder, role="documents", seal=make_seal(folder))
        registry.promote("v1", because="first")
        yield registry


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_sealed(folders, kind) -> None:
    folder = getattr(folders, kind)
    seal, tokenizer = make_seal(folder), open_tokenizer(folder)
    check_seal(open_served(folder), tokenizer, seal, digest=folder_digest(folder))
    wrong = open_served(folder)
    wrong.stack.blocks[1].feedforward.up.weight.mul_(1.5)
    with pytest.raises(CorruptError, match="bit by bit"):
        check_seal(wrong, tokenizer, seal)
    with pytest.raises(CorruptError, match="differently"):
        check_seal(wrong, tokenizer, seal | {"machine": "elsewhere"})
    check_seal(open_served(folder), tokenizer, seal | {"machine": "elsewhere"})


def test_versions_answer_and_are_swapped_while_they_do(registry) -> None:
    metrics = CollectorRegistry()
    service = ServingService(registry, poll_s=0.02, metrics=metrics, queue_tokens=5000)
    try:
        first = service.fill(["the [MASK]"])
        assert first.version == "v1"
        assert service.abilities().tasks == ("fill-mask", "embeddings")
        assert service.abilities("v3").tasks == ("translate",)
        assert service.translate(["a ship"], Writing(max_tokens=4), model="v3").version == "v3"
        registry.promote("v2", because="better")
        deadline = time.monotonic() + 20
        while service.version != "v2":
            assert time.monotonic() < deadline
            assert service.fill(["the [MASK]"]).version in ("v1", "v2")
        assert service.fill(["the [MASK]"]).rows != first.rows
        assert service.healthy()
        assert (
            'lamina:request_success_total{finished_reason="stop",model_name="v1"}' in generate_latest(metrics).decode()
        )
    finally:
        service.close()


@pytest.mark.skipif(open_library() is None, reason=f"native kernels: {describe()}")
def test_the_stacks_form_reaches_an_encoder(registry, caplog) -> None:
    caplog.set_level("INFO")
    service = ServingService(registry, quantize="int8", deterministic=True)
    try:
        assert "v1 is loaded, computed by native" in caplog.text
        assert service.fill(["the [MASK]"]).version == "v1"
    finally:
        service.close()


def test_a_chat_with_a_model_that_does_not_chat_is_refused(registry) -> None:
    service = ServingService(registry)

    async def ask() -> None:
        async for _ in service.stream(Request(id="r", messages=(Message("user", "hello"),))):
            pass

    try:
        with pytest.raises(InputError, match=r"v1 cannot chat .*can fill in masked words") as caught:
            asyncio.run(ask())
        assert caught.value.code == "unsupported_task"
        assert not service._champion.users
    finally:
        service.close()
