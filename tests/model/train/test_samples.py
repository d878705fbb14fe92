"""What a run writes while it learns, and the share of the machine that it uses."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from lamina.contracts.tokens import Batch
from lamina.kit.log import MetricsWriter, read_metrics
from lamina.kit.progress import open_progress
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.model.architectures.gpt import llama
from lamina.model.generate import drawn, greedy
from lamina.model.show import describe
from lamina.model.train import TrainParameters, train
from lamina.model.train.peak import Peak, matrix_rate, products
from lamina.model.train.samples import Samples
from lamina.model.transformer import Transformer

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)


@pytest.fixture
def tokenizer(tmp_path: Path) -> ModelTokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>"]
    made.train_from_iterator(
        ["a"], trainers.BpeTrainer(vocab_size=257, special_tokens=special, initial_alphabet=alphabet)
    )
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return open_tokenizer(folder)


class Line:
    """One text, again and again."""

    def __init__(self, ids: list[int]) -> None:
        self.ids, self.drawn = torch.tensor([ids]).numpy(), 0

    def __next__(self) -> Batch:
        self.drawn += 1
        inputs = self.ids[:, :-1]
        ones, places = torch.ones(inputs.shape, dtype=torch.int64), torch.arange(inputs.shape[1])[None]
        return Batch(inputs=inputs, targets=self.ids[:, 1:], segments=ones.numpy(), positions=places.numpy())

    def state(self) -> dict[str, int]:
        return {"drawn": self.drawn}

    def restore(self, state: dict[str, int]) -> None:
        self.drawn = state["drawn"]


def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(llama(vocabulary=257, width=32, layers=1, heads=2, max_positions=64)).eval()


def test_a_run_writes_samples_that_become_what_it_learns(tokenizer: ModelTokenizer, tmp_path: Path) -> None:
    ids = [tokenizer.end_ids[0], *tokenizer.encode("the whale"), tokenizer.end_ids[0]]
    said = io.StringIO()
    samples = Samples(["the wh", "the"], tokenizer, tmp_path / "samples.jsonl", every=40, tokens=8)
    train(
        model(),
        Line(ids),
        parameters=TrainParameters(steps=100, learning_rate=1e-2, precision="float32", checkpoint_s=None),
        work=tmp_path,
        progress=open_progress("auto", stream=said),
        metrics=MetricsWriter(tmp_path / "metrics.jsonl"),
        observers=[samples],
    )
    rows = list(read_metrics(tmp_path / "samples.jsonl"))
    assert [row["step"] for row in rows] == [0, 0, 40, 40, 80, 80, 100, 100]
    assert rows[0]["prompt"] == "the wh"
    assert rows[0]["text"] != "ale"
    assert [row["text"] for row in rows[-2:]] == ["ale", " whale"]
    assert "step 100: the whale" in said.getvalue()


def test_a_run_that_ends_before_its_plan_writes_a_last_sample(tokenizer: ModelTokenizer, tmp_path: Path) -> None:
    samples = Samples(["the wh"], tokenizer, tmp_path / "samples.jsonl", every=1000, tokens=8)
    result = train(
        model(),
        Line([tokenizer.end_ids[0], *tokenizer.encode("the whale"), tokenizer.end_ids[0]]),
        parameters=TrainParameters(
            steps=1000, budget_s=1.0, pace="clock", learning_rate=1e-2, precision="float32", checkpoint_s=None
        ),
        work=tmp_path,
        progress=open_progress("quiet"),
        metrics=MetricsWriter(tmp_path / "metrics.jsonl"),
        observers=[samples],
    )
    assert result.ended == "clock"
    assert [row["step"] for row in read_metrics(tmp_path / "samples.jsonl")] == [0, result.steps]
    begun = Samples(["the wh"], tokenizer, tmp_path / "other.jsonl", every=2, tokens=8)
    plan = type("Plan", (), {"steps": 4})()
    begun.begin(model(), 0, plan, open_progress("quiet"))
    begun.see({"step": 1})
    begun.close(well=False)
    assert [row["step"] for row in read_metrics(tmp_path / "other.jsonl")] == [0], "it goes on from there"
    begun = Samples(["the wh"], tokenizer, tmp_path / "longer.jsonl", every=9, tokens=8)
    begun.begin(model(), 0, plan, open_progress("quiet"))
    for step in range(1, 7):  # the clock left time for more steps than were planned
        begun.see({"step": step})
    begun.close(well=True)
    assert [row["step"] for row in read_metrics(tmp_path / "longer.jsonl")] == [0, 6]


def test_a_resumed_run_forgets_samples_of_steps_that_it_does_again(tokenizer: ModelTokenizer, tmp_path: Path) -> None:
    rows = MetricsWriter(tmp_path / "samples.jsonl")
    for step in (0, 4, 8):
        rows.write(step, prompt="p", text=str(step))
    plan = type("Plan", (), {"steps": 12})()
    Samples(["p"], tokenizer, rows.path).begin(model(), 4, plan, open_progress("quiet"))
    assert [row["step"] for row in read_metrics(rows.path)] == [0, 4]
    Samples(["p"], tokenizer, rows.path).begin(model(), 0, plan, open_progress("quiet"))
    assert [row["step"] for row in read_metrics(rows.path)] == [0]


def test_a_run_that_was_killed_behind_its_last_step_still_writes_the_last_sample(
    tokenizer: ModelTokenizer, tmp_path: Path
) -> None:
    rows = MetricsWriter(tmp_path / "samples.jsonl")
    rows.write(0, prompt="p", text="0")
    plan = type("Plan", (), {"steps": 7})()
    for _ in range(2):  # the second time it is there
        resumed = Samples(["p"], tokenizer, rows.path)
        resumed.begin(model(), 7, plan, open_progress("quiet"))
        resumed.close(well=True)
        assert [row["step"] for row in read_metrics(rows.path)] == [0, 7]


def test_what_is_drawn_follows_from_the_seed() -> None:
    made = model()
    found = [greedy(made, [1, 2], end=[0], max_tokens=12, choose=drawn(seed)) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    alone = greedy(made, [1, 2], end=[0], max_tokens=12, choose=drawn(3, among=1))
    assert alone == greedy(made, [1, 2], end=[0], max_tokens=12)


def test_products_are_those_of_the_description() -> None:
    made = model()
    body, head = products(made)
    assert body + head == describe(made.spec, context=0).flops
    assert head == 2 * 257 * 32


def test_the_share_of_the_peak_is_shown_and_is_a_share(tmp_path: Path) -> None:
    made, peak = counting.make(), Peak(rows=64)
    shown: list[str] = []
    see = peak.see
    peak.see = lambda facts: shown.append(see(facts)["of peak"]) or see(facts)  # type: ignore[method-assign]
    counting.run(made, tmp_path, steps=3, observers=[peak])
    assert len(shown) == 3
    assert all(0 <= int(words.removesuffix("%")) <= 150 for words in shown)  # so small a model is all overhead


def test_the_share_counts_what_was_computed() -> None:
    made, peak = model(), Peak(rows=64, passes=2)
    plan = type("Plan", (), {"precision": "float32"})()
    peak.begin(made, 0, plan, open_progress("quiet"))
    rate = peak._rate
    assert rate == pytest.approx(matrix_rate(made, 64, "float32"), rel=20)
    body, head = products(made)
    seconds = 2 * (body * 1000 + head * 500) / rate  # as if every product ran as fast as alone
    assert peak.see({"tokens_per_s": 500 / seconds, "step_s": seconds, "places": 1000}) == {"of peak": "100%"}
