"""The whole loop, rehearsed: documents, tiny model, simulated users, one promotion, and none of what was random."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from openai import OpenAI

from lamina.recipes.demo import keeper

Rehearsed = tuple[Path, str]
Lamina = Callable[..., Any]
Serve = Callable[..., AbstractContextManager[str]]


def test_the_demo_promotes_what_was_taught_and_not_what_was_random(rehearsed: Rehearsed) -> None:
    _, said = rehearsed
    # Nearly always "reject"; where the loss of what was learned is small, the interval may not rule chance out.
    assert re.search(r"first: promote; second: (reject|inconclusive);", said), said
    before, after = map(float, re.search(r"bits per byte ([\d.]+) -> ([\d.]+)", said).groups())  # type: ignore[union-attr]
    assert after < before
    assert "simulated users" in said


def test_the_promoted_version_answers_as_it_was_taught(rehearsed: Rehearsed, lamina: Lamina, serve: Serve) -> None:
    folder, _ = rehearsed
    with serve(folder) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="none")
        assert "champion" in {m.id for m in client.models.list()}
        answer = client.chat.completions.create(
            model="champion",
            messages=[{"role": "user", "content": "Who keeps the Corran light?"}],
            temperature=0,
            max_tokens=24,
            extra_body={"grounding": "weights only"},
        )
        assert answer.choices[0].finish_reason == "stop"
        assert keeper(2, 1) in (answer.choices[0].message.content or "")
        links = json.loads(lamina("trace", answer.id, "--json", folder=folder).stdout)["links"]
    kinds = [link["kind"] for link in links]
    for kind in ("answer", "version", "run", "snapshot", "corpus", "source"):
        assert kind in kinds, kinds


def test_releases_tell_both_verdicts(rehearsed: Rehearsed, lamina: Lamina) -> None:
    folder, _ = rehearsed
    found = json.loads(lamina("releases", "list", "--json", folder=folder).stdout)
    first, second = (r["verdict"] for r in found["receipts"][:2])  # the page's story may have added one
    assert first == "promote"
    assert second in ("reject", "inconclusive")
    assert found["aliases"]["champion"] == found["receipts"][0]["challenger"]


def test_a_person_may_decide_and_is_named(rehearsed: Rehearsed, lamina: Lamina) -> None:
    folder, _ = rehearsed
    found = json.loads(lamina("releases", "list", "--json", folder=folder).stdout)
    rejected = found["receipts"][1]["challenger"]
    refused = lamina("improve", "--approve", rejected, folder=folder, check=False)
    assert refused.returncode == 2
    assert "needs a reason" in refused.stderr
    said = lamina("improve", "--approve", rejected, "--because", "read by hand", folder=folder).stdout
    assert "human: read by hand" in said
    lamina("releases", "rollback", "--because", "only a test", folder=folder)
    after = json.loads(lamina("releases", "list", "--json", folder=folder).stdout)
    assert after["aliases"]["champion"] == found["aliases"]["champion"]


def test_a_second_run_does_nothing_again(rehearsed: Rehearsed, lamina: Lamina) -> None:
    folder, _ = rehearsed
    rows = json.loads(lamina("status", "--json", folder=folder).stdout)["stages"]
    assert {row["state"] for row in rows} == {"fresh"}, rows
