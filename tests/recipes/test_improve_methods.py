"""What the improvement loop learns from: accepted, preferred or judged answers of a snapshot."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.chat import DPO, KTO, SFT
from lamina.kit import config
from lamina.kit.errors import InputError
from lamina.kit.progress import open_progress
from lamina.recipes.feedback_training import train_on_feedback
from lamina.recipes.stack import ImproveSection

ABOUT = {"feedback_id": "f", "interaction_id": "i", "user": "u", "created": datetime(2026, 1, 1, tzinfo=UTC)}
SCHEMAS = {"sft": SFT, "dpo": DPO, "kto": KTO}


def turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def rows_of(method: str, split: str = "train") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for animal in ("whale", "gull", "squid", "crab"):
        row = ABOUT | {"prompt": turn("user", f"Where is the {animal}?"), "split": split}
        good, bad = turn("assistant", "In the sea."), turn("assistant", "I do not know.")
        if method == "sft":
            found.append(row | {"completion": good})
        elif method == "dpo":
            found.append(row | {"chosen": good, "rejected": bad})
        else:
            found += [row | {"completion": good, "label": True}, row | {"completion": bad, "label": False}]
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from lamina.data.tokenizer.train import train_tokenizer
    from lamina.model.architectures.presets import preset
    from lamina.model.checkpoint import save_model
    from lamina.model.transformer import Transformer
    from lamina.recipes.rows import _write_texts

    place = tmp_path_factory.mktemp("model")
    _write_texts(place / "data", [{"text": "Where is the whale? In the sea. I do not know."}])
    train_tokenizer(place, place / "tokenizer", use="bpe", vocabulary=300)
    torch.manual_seed(0)
    save_model(Transformer(preset("nano", vocabulary=300)), place / "model", like=place / "tokenizer")
    return place / "model"


def learn(place: Path, model: Path, method: str, *, split: str = "train") -> Path:
    """The run's folder, after six epochs over a snapshot with rows of ``method`` alone."""
    snapshot, staging, work = place / "snapshot", place / "run", place / "work"
    for folder in (snapshot, staging, work):
        folder.mkdir()
    for name, schema in SCHEMAS.items():
        rows = rows_of(name, split) if name == method else []
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), snapshot / f"{name}.parquet")
    settings = ImproveSection(method=method, learning_rate=2e-3, epochs=12)  # type: ignore[arg-type]
    parameters = {
        "improve": config.resolved(settings),
        "part": "",
        "context": {"stack": {"model": {}}, "references": str(place / "references")},
    }
    inputs = {"start": model, "snapshot": snapshot}
    train_on_feedback(staging, work, parameters, inputs, open_progress("quiet"))
    return staging


def margins(model: Path, folder: Path) -> list[float]:
    """How much likelier than the other the good answer is (nats), less what it was before."""
    from lamina.data.objectives.preferences import answers
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model
    from lamina.recipes.row_training import log_probabilities

    found = answers("dpo", rows_of("dpo"), open_tokenizer(model), length=100)
    now, before = (log_probabilities(open_model(place), found) for place in (folder, model))
    gains = [a - b for a, b in zip(now, before, strict=True)]
    return [good - bad for good, bad in zip(gains[0::2], gains[1::2], strict=True)]


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_each_method_learns_from_its_rows(tmp_path: Path, model: Path, method: str) -> None:
    run = learn(tmp_path, model, method)
    assert json.loads((run / "run.json").read_bytes())["objective"] == ("causal-lm" if method == "sft" else method)
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
    assert min(margins(model, run / "model")) > 1
    assert (tmp_path / "references").exists() == (method != "sft")


@pytest.mark.parametrize(("method", "words"), [("dpo", "no preference pairs"), ("kto", "no judged answers")])
def test_a_snapshot_without_such_rows_is_refused(tmp_path: Path, model: Path, method: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"{words}.*method = \"sft\""):
        learn(tmp_path, model, method, split="held-out")
