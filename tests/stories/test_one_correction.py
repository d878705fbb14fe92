"""One correction: it answers a similar question at once, but one person's word promotes nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from lamina.interface.store import split_of
from lamina.kit.progress import open_progress
from lamina.recipes.demo import write_documents
from lamina.recipes.improve import improve
from lamina.recipes.stack import open_stack
from lamina.recipes.up import bring_up

QUESTION = "Who repairs the lamp of the Tarvit light?"
BETTER = "The lamp of Tarvit is repaired by the smith Olaf Brandt."


def test_one_correction_is_remembered_and_inconclusive(
    tmp_path: Path, serve: Callable[..., AbstractContextManager[str]]
) -> None:
    write_documents(tmp_path)
    file = tmp_path / "lamina.toml"
    bring_up(file, ["model.train.steps=5"], places=[], serve=False, json=False)  # here, where it is all imported
    nothing = improve(open_stack(file), progress=open_progress("quiet"))
    assert (nothing.verdict, nothing.challenger) == ("inconclusive", "")
    conversation = next(c for n in range(100) if split_of("", c := str(UUID(int=n))) == "train")
    with serve(tmp_path) as address:
        first = ask(address, QUESTION, conversation)
        said = httpx.post(
            f"{address}/v1/feedback", json={"target": first["id"], "kind": "correction", "value": BETTER}, timeout=30
        )
        assert said.status_code == 201
        assert said.json()["split"] == "train"
        again = ask(address, "Who repairs the lamp of Tarvit light?", str(UUID(int=1000)))
        assert again["sources"][0]["kind"] == "correction"
        assert again["sources"][0]["passage"] == BETTER
    found = improve(open_stack(file), progress=open_progress("quiet"))
    assert (found.verdict, found.challenger) == ("inconclusive", "v2")
    assert found.results["missing"] == 8
    assert "8 more" in found.reasons[-1]


def ask(address: str, question: str, conversation: str) -> dict[str, Any]:
    body = {
        "model": "champion",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 8,
        "conversation": conversation,
    }
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
