"""The draft beside a served model: whose tokens it must have, and what comes of it in a service."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path

import pytest
import torch

from lamina.contracts.chat import Message
from lamina.contracts.inference import Request, SamplingParams
from lamina.deployment.compress.quantize import open_served
from lamina.deployment.drafts import open_draft
from lamina.deployment.engine.draft import DraftGuesser
from lamina.deployment.engine.speculation import Speculation
from lamina.deployment.loaded import placed
from lamina.deployment.registry import ModelRegistry
from lamina.deployment.service import ServingService
from lamina.kit.database import Database
from lamina.kit.errors import ConfigError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.architectures.presets import preset
from lamina.model.checkpoint import save_model
from lamina.model.transformer import Transformer


@pytest.fixture
def registry(tmp_path, model_folder):
    with Database.open(tmp_path / "lamina.db") as database:
        registry = ModelRegistry(database, tmp_path / "models")
        registry.add(model_folder(1), role="documents")
        registry.promote("v1", because="first")
        yield registry


@pytest.fixture
def opened(registry):
    """``opened(folder)``: the draft in it, for the champion."""

    def run(folder: Path | None, **options):
        served = registry.folder("v1")
        find = None if folder is None else lambda _: folder
        return open_draft(find, registry.resolve("v1"), open_served(served), open_tokenizer(served), options)

    return run


def answers(registry, draft: Path | None) -> list[list[int]]:
    service = ServingService(registry, cache_mb=4, draft=None if draft is None else lambda _: draft)
    try:

        async def ask() -> list[int]:
            request = Request(
                id=f"r{time.monotonic_ns()}",
                messages=(Message("user", "the whale and the sea"),),
                sampling=SamplingParams(temperature=0.0, max_tokens=40, ignore_eos=True),
            )
            return [token async for chunk in service.stream(request) for token in chunk.tokens]

        return [asyncio.run(ask()) for _ in range(2)]
    finally:
        service.close()


@pytest.mark.parametrize("quantized", ["int8", "none"])
def test_a_service_answers_the_same_with_one(registry, model_folder, monkeypatch, quantized) -> None:
    seen: list[tuple[int, int]] = []
    learn = DraftGuesser.learn
    monkeypatch.setattr(DraftGuesser, "learn", lambda self, *made: (seen.append(made), learn(self, *made))[1])
    monkeypatch.setattr(Speculation, "length", lambda *_: 4)
    plain = answers(registry, None)
    assert seen == []
    assert answers(registry, model_folder(1, quantize=quantized)) == plain
    assert sum(right for _, right in seen) > 10, "it is the model itself"
    seen.clear()
    assert answers(registry, model_folder(2, quantize=quantized)) == plain
    assert seen


def test_it_is_opened_in_int8_with_the_options_of_the_engine(opened, model_folder) -> None:
    assert opened(None) is None
    draft = opened(model_folder(2, quantize="none"), context=64, cache="int8", cache_mb=1)
    assert draft.context == 64
    assert draft._runner.model.stack.embeddings.token.weight.dtype == torch.int8
    wide = opened(model_folder(2, quantize="none"), context=64)
    assert draft.coming < wide.coming
    draft.close()
    wide.close()


def test_one_with_other_tokens_is_refused(opened, model_folder, tmp_path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(model_folder(2), folder)
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text())
    vocabulary = told["model"]["vocab"]
    (a, first), (b, second) = [(t, i) for t, i in vocabulary.items() if i in (40, 41)]
    vocabulary[a], vocabulary[b] = second, first
    file.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"deployment\.draft.*other.*token 40 is .*same vocabulary"):
        opened(folder)
    # What ends an answer is the large model's to say: that of a base model is another one.
    ends = tmp_path / "ends"
    shutil.copytree(model_folder(2), ends)
    (ends / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    opened(ends).close()


def test_one_that_answers_whole_texts_or_is_none_is_refused(opened, tmp_path, tokenizer_folder) -> None:
    encoder = tmp_path / "encoder"
    vocabulary = open_tokenizer(tokenizer_folder).vocabulary
    save_model(Transformer(preset("bert-nano", vocabulary=vocabulary)), encoder, like=tokenizer_folder)
    with pytest.raises(ConfigError, match=r"deployment\.draft.*answers whole ones"):
        opened(encoder)
    with pytest.raises(ConfigError, match=r"deployment\.draft.*tokenizer\.json"):
        opened(tmp_path / "nowhere")
    bare = tmp_path / "bare"
    shutil.copytree(tokenizer_folder, bare)
    with pytest.raises(ConfigError, match=r"deployment\.draft.*config\.json is missing"):
        opened(bare)


def test_on_a_gpu_there_is_none(registry, model_folder, monkeypatch, caplog) -> None:
    caplog.set_level("INFO")
    served = registry.folder("v1")
    model = open_served(served)
    away = placed(model, torch.device("meta"))
    found = open_draft(lambda _: model_folder(2), registry.resolve("v1"), away, open_tokenizer(served), {})
    assert found is None
    assert "without its draft" in caplog.messages[-1]
