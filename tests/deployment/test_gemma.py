"""A folder of Gemma 3's form is a version like any other: sealed, loaded, and asked in its template."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lamina.contracts.chat import Message
from lamina.contracts.inference import Chunk, Request, SamplingParams
from lamina.deployment.compress.quantize import open_served
from lamina.deployment.fit.fitter import Fitter
from lamina.deployment.load.objective import Objective
from lamina.deployment.registry import ModelRegistry
from lamina.deployment.seal import make_seal
from lamina.deployment.service import ServingService
from lamina.deployment.texts.opening import abilities_of
from lamina.kit.database import Database
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.generate import greedy
from lamina.recipes.served import why_not_served

TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}{{ bos_token }}"
    "{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] | trim }}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
ASKED = (Message("user", "the whale and the sea and the ship " * 2), Message("assistant", "the sea"))


@pytest.fixture
def folder(tmp_path, tokenizer_folder, save_tiny) -> Path:
    made = save_tiny(tmp_path / "gemma", tokenizer_folder, quantize="none", positions=400, family="gemma3")
    (made / "chat_template.jinja").write_text(TEMPLATE)
    return made


def test_its_chats_are_served(folder, tmp_path) -> None:
    assert why_not_served(folder) is None
    assert abilities_of(folder).tasks == ("chat", "completions")
    tokenizer, messages = open_tokenizer(folder), (*ASKED, Message("user", "the ship"))
    prompt = tokenizer.render(messages, open_answer=True).ids
    assert tokenizer.decode(prompt).rstrip().endswith("<start_of_turn>model")
    expected = greedy(open_served(folder), prompt, end=(), max_tokens=16)
    request = Request(
        id="r", messages=messages, sampling=SamplingParams(temperature=0.0, max_tokens=16, ignore_eos=True)
    )

    async def collect(service: ServingService) -> list[Chunk]:
        return [chunk async for chunk in service.stream(request)]

    with Database.open(tmp_path / "lamina.db") as database:
        registry = ModelRegistry(database, tmp_path / "models")
        registry.add(folder, role="documents", seal=make_seal(folder))
        registry.promote("v1", because="first")
        fitter = Fitter(tmp_path / "machines", goal=Objective(), given={"threads": 1})
        service = ServingService(registry, cache_mb=8, fitter=fitter)
        try:
            said = [asyncio.run(collect(service)) for _ in range(2)]
        finally:
            service.close()
    assert [[token for chunk in one for token in chunk.tokens] for one in said] == [expected] * 2
    assert said[1][-1].usage.cached_tokens > 0
