"""The model that scores documents while they are cleaned: a process of its own, and what the plan makes of it."""

from __future__ import annotations

import json
import math
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.data.clean.perplexity import SCORER, perplexity
from lamina.kit.errors import ConfigError, LaminaError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.recipes.plan import Plan
from lamina.recipes.scoring import scoring, serve_scorer
from lamina.recipes.stack import open_stack
from lamina.recipes.up import build_data

TEXT = "The whale rose slowly beside the boat, and the men held their breath while the captain watched the water."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights, as a Hugging Face folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from lamina.model.architectures.presets import preset
    from lamina.model.checkpoint import save_model
    from lamina.model.transformer import Transformer

    folder = tmp_path_factory.mktemp("base")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator([TEXT], trainer)
    torch.manual_seed(0)
    save_model(Transformer(preset("tiny", vocabulary=backend.get_vocab_size())), folder)
    backend.save(str(folder / "tokenizer.json"))
    template = "{% for m in messages %}{{ m['content'] }}<end>{% endfor %}"
    settings = {"eos_token": "<end>", "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    return folder


@pytest.fixture(scope="module")
def served(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lamina.recipes.training import make_served

    folder = tmp_path_factory.mktemp("served")
    make_served(folder, folder, {"part": "", "quantize": "none"}, {"source": base}, open_progress("quiet"))
    return folder


def ask(address: str, body: Any) -> Any:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_scores_are_those_of_the_evaluator_and_the_door_is_shut_to_others(served: Path) -> None:
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model
    from lamina.model.evaluate.bits_per_byte import bits_per_byte

    texts = [TEXT, TEXT[:30], "äöü " * 40]
    wanted = bits_per_byte(open_model(served / "model"), open_tokenizer(served / "model"), texts)
    before = os.environ.get(SCORER)
    with scoring(served):
        address = os.environ[SCORER]
        found = perplexity(pa.record_batch({"text": texts}), max_chars=10_000).to_pydict()
        for wrong, status in ((f"{address}x/score", 404), (address.rpartition("/")[0] + "/score", 404)):
            with pytest.raises(urllib.error.HTTPError, match=str(status)):
                ask(wrong, {"texts": ["x"]})
        for bad in ({"texts": "x"}, {"texts": [""]}, {"text": ["x"]}, ["x"], {"texts": [3]}):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                ask(f"{address}/score", bad)
        assert len(ask(f"{address}/score", {"texts": ["goes on"]})["scores"]) == 1
    assert os.environ.get(SCORER) == before
    with pytest.raises(urllib.error.URLError):  # nobody answers any more
        ask(f"{address}/score", {"texts": ["x"]})
    bits = [nats / math.log(2) / size for nats, size in wanted.per_document]
    assert found["bits_per_byte"] == pytest.approx(bits, rel=1e-4)
    assert found["perplexity_failed"] == [None] * 3


def test_a_model_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(LaminaError, match="model"), scoring(tmp_path):
        pass


def test_without_a_model_nothing_is_started() -> None:
    with scoring(None):
        assert SCORER not in os.environ


def stack_file(folder: Path, model: str = "", step: str = 'signal = "perplexity"') -> Path:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "a.txt").write_text(TEXT)
    (folder / "docs" / "b.txt").write_text("xq zvk wpt jjq " * 8)
    data = '[data]\nheld_out = 0.0\n[[data.sources]]\nuse = "files"\nfrom = "docs"\n'
    (folder / "lamina.toml").write_text(f'name = "x"\n{data}[[data.steps]]\n{step}\n{model}')
    return folder / "lamina.toml"


def plan_of(file: Path) -> Plan:
    stack, progress = open_stack(file), open_progress("quiet")
    return Plan(stack, Workshop(stack.state, progress), progress)


def test_a_stack_without_a_base_needs_a_service(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs \\[model\\] base, or a service"):
        serve_scorer(plan_of(stack_file(tmp_path)))
    own = plan_of(stack_file(tmp_path, step='signal = "perplexity"\nservice = "http://127.0.0.1:1/v1"'))
    serve_scorer(own)
    assert own.corpus.inputs == {}


def test_a_build_serves_the_base_for_the_time_of_cleaning(tmp_path: Path, base: Path) -> None:
    file = stack_file(tmp_path, f"[model]\nbase = {json.dumps(str(base))}\n")
    build_data(open_stack(file), json=True)
    corpus = next((tmp_path / ".lamina" / "corpora").iterdir())
    rows = [row for part in sorted((corpus / "data").glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
    assert len(rows) == 2
    assert all(0 < row["bits_per_byte"] < 20 and row["perplexity_failed"] is None for row in rows)


@pytest.mark.material
def test_a_real_model_finds_prose_likelier_than_its_words_in_another_order(
    material: Callable[[str], Path], tmp_path: Path
) -> None:
    from lamina.recipes.models import import_folder
    from lamina.recipes.training import make_served

    import_folder(material("smollm2"), tmp_path / "base")
    (tmp_path / "served").mkdir()
    inputs = {"source": tmp_path / "base"}
    make_served(tmp_path / "served", tmp_path, {"part": "", "quantize": "int8"}, inputs, open_progress("quiet"))
    texts = [TEXT, " ".join(sorted(TEXT.split()))]
    with scoring(tmp_path / "served"):
        bits = perplexity(pa.record_batch({"text": texts})).to_pydict()["bits_per_byte"]
    assert bits[0] < 1.5 < 2 < bits[1]
