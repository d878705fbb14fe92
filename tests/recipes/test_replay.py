"""A stored answer is made again, bit for bit: over the API that gave it, and by the recipe."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from lamina.cli import app
from lamina.contracts.replay import Replayed
from lamina.kit.database import Database
from lamina.kit.errors import NotFoundError
from lamina.kit.progress import open_progress
from lamina.recipes.current import Current, remember
from lamina.recipes.replay import StackReplays, described, replay
from lamina.recipes.serve import make_app
from lamina.recipes.stack import Stack, open_stack

TEXT = "The white whale swims in the northern sea near the old harbour, and the captain hunts it."
QUESTION = {"role": "user", "content": "Where does the white whale swim?"}


@dataclass
class Running:
    stack: Stack
    client: TestClient

    def ask(self, route: str = "chat/completions", **body: Any) -> list[str]:
        """The ids of the answers."""
        given = {"max_tokens": 9, "messages": [QUESTION]} if route.startswith("chat") else {"max_tokens": 9}
        answer = self.client.post(f"/v1/{route}", json=given | body).json()
        assert "choices" in answer, answer
        return [answer["id"] if n == 0 else f"{answer['id']}.{n}" for n in range(len(answer["choices"]))]

    def replayed(self, id: str) -> dict[str, Any]:
        answer = self.client.post(f"/v1/replay/{id}")
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A deterministic stack with documents, a tiny model and an adapter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lamina.recipes.serve.open_fitter", lambda _: None)  # it would measure the machine
        yield from _running(tmp_path_factory.mktemp("replay"))


def _running(root: Path) -> Iterator[Running]:
    import torch

    from lamina.data.tokenizer.train import train_tokenizer
    from lamina.deployment.compress.quantize import save_served
    from lamina.deployment.registry import ModelRegistry
    from lamina.interface.grounding.passages import build_index
    from lamina.model.architectures.gpt import llama
    from lamina.model.checkpoint import copy_companions
    from lamina.model.lora import add_lora, lora_parameters, save_lora
    from lamina.model.transformer import Transformer
    from lamina.recipes.rows import _write_texts

    file = root / "lamina.toml"
    file.write_text(
        'name = "pequod"\n[model]\nbase = "base"\n[deployment]\ndeterministic = true\ncache_mb = 8\n'
        '[deployment.adapters]\nlegal = "adapter"\n'
    )
    _write_texts(root / "data", [{"text": TEXT}])
    train_tokenizer(root, root / "tokenizer", use="bpe", vocabulary=320)
    torch.manual_seed(0)
    spec = llama(vocabulary=320, width=64, layers=2, heads=4, kv_heads=2, inner=96, max_positions=512)
    adapted = Transformer(spec).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            parameter.mul_(8.0 if parameter.dim() == 2 and "embed" not in name else 1.0)
    plain = Transformer(spec).eval()
    plain.load_state_dict(adapted.state_dict())
    save_served(plain, root / "v1", like=None, quantize="int8")
    copy_companions(root / "tokenizer", root / "v1")
    add_lora(adapted, rank=3, alpha=6.0)
    with torch.no_grad():
        for parameter in lora_parameters(adapted):
            parameter.normal_(std=0.3)
    save_lora(adapted, root / "adapter")
    stack = open_stack(file)
    row = dict.fromkeys(("author", "url", "source", "license", "created")) | {
        "id": "d1",
        "title": "Whales",
        "text": TEXT,
    }
    (stack.state / "passages" / "p").mkdir(parents=True)
    build_index([pa.RecordBatch.from_pylist([row])], stack.state / "passages" / "p")
    remember(stack, Current(passages="p"))
    with Database.open(stack.database) as database:
        registry = ModelRegistry(database, stack.state / "models")
        registry.add(root / "v1", role="base")
        registry.promote("v1", because="first")
    with (
        make_app(stack, open_progress("quiet")) as served,
        TestClient(served, base_url="http://127.0.0.1") as client,
    ):
        yield Running(stack, client)


ASKED = [
    {"grounding": "weights + documents"},
    {"grounding": "weights only", "temperature": 0.9},
    {"grounding": "weights only", "temperature": 1.1, "n": 2, "top_p": 0.9, "stop": ["zzz"], "logit_bias": {"7": 2}},
    {"grounding": "weights only", "model": "legal"},
    {"route": "completions", "prompt": "the white whale", "temperature": 0.7, "seed": 11},
    {"route": "completions", "prompt": [5, 17, 9, 40]},
    {"grounding": "weights only", "response_format": {"type": "json_object"}, "temperature": 0.5},
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: ", ".join(asked))
def test_an_answer_is_made_again(running: Running, asked: dict[str, Any]) -> None:
    ids = running.ask(**asked)
    running.ask(**asked | {"seed": 99})  # what came between does not matter
    answers = [running.replayed(id) for id in ids]
    assert all(answer["identical"] and answer["tokens"] for answer in answers), answers
    assert {answer["adapter"] for answer in answers} == {asked.get("model", "")}
    assert len({tuple(answer["tokens"]) for answer in answers}) == len(ids), "n answers of one request differ"


def test_the_recipe_opens_the_version_itself(running: Running) -> None:
    (id,) = running.ask(model="legal", grounding="weights + documents")
    answer = running.client.get(f"/v1/trace/{id}").json()["links"][0]
    assert answer["facts"]["adapter"].startswith("legal@")
    found = replay(running.stack, id)
    assert found.identical
    assert described(found, as_json=False).startswith(f"{id}: identical, {len(found.tokens)} tokens (v1 with legal")
    assert described(found, as_json=True)["identical"] is True


def again(running: Running, id: str, passages: bool = True, **changed: Any) -> Replayed:
    """The replay of what ``changed`` says was stored."""
    from lamina.deployment.loaded import load_version
    from lamina.deployment.registry import ModelRegistry
    from lamina.interface.grounding.passages import PassageIndex
    from lamina.interface.store import FeedbackStore

    with Database.open(running.stack.database) as database:
        store = FeedbackStore(database)
        found = store.interaction(id)
        made = json.dumps(json.loads(found.made) | changed) if changed else ""
        if not passages:
            made = found.made
        store.interaction = lambda _: replace(found, made=made)  # type: ignore[method-assign]
        registry = ModelRegistry(database, running.stack.state / "models")
        loaded = load_version(registry, registry.resolve("v1"), {"deterministic": True, "cache_mb": 8})
        index = PassageIndex(running.stack.state / "passages" / "p") if passages else None
        try:
            return asyncio.run(StackReplays(store, index, lambda _: nullcontext(loaded), list).replay(id))
        finally:
            loaded.serving.close()
            if index is not None:
                index.close()


def test_it_says_where_and_why_an_answer_differs(running: Running) -> None:
    (id,) = running.ask(grounding="weights only")
    tokens = running.replayed(id)["tokens"]
    other = [*tokens[:3], (tokens[3] + 1) % 300, *tokens[4:]]
    found = again(running, id, tokens=other, kernels="torch of old", deterministic=False)
    assert (found.identical, found.differs, found.tokens) == (False, 3, tokens)
    assert "computed by torch of old" in found.reasons[0]
    assert found.reasons[1].startswith("then without [deployment] deterministic")
    assert len(found.reasons) == 2
    assert "differs from token 3 on, of 9" in described(found, as_json=False)
    assert again(running, id, tokens=tokens[:5]).differs == 5


def test_the_command_says_it_by_its_exit_code(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    (id,) = running.ask(grounding="weights only")
    same = replay(running.stack, id)
    asked = ["replay", id, "--stack", str(running.stack.file)]
    for found, code in ((same, 0), (replace(same, differs=2, reasons=("for a test",)), 1)):
        monkeypatch.setattr("lamina.recipes.replay.replay", lambda *_, found=found: found)
        result = CliRunner().invoke(app, asked)
        assert (result.exit_code, id in result.output) == (code, True), result.output


def test_what_is_not_there_any_more_is_said(running: Running) -> None:
    (id,) = running.ask(grounding="weights + documents")
    with pytest.raises(NotFoundError, match="not kept"):
        again(running, id)
    with pytest.raises(NotFoundError, match="source of this answer"):
        again(running, id, passages=False)
    with pytest.raises(NotFoundError, match="cannot be built again"):
        again(running, id, prompt="0" * 64)
    with pytest.raises(NotFoundError, match="adapter 'gone'"):
        again(running, id, adapter="gone@123")
    assert running.client.post("/v1/replay/chatcmpl-none").status_code == 404
