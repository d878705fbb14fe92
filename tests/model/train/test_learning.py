"""Every objective learns something small, from the streams of the data layer, and resumes to the bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lamina.contracts.tokens import IGNORED
from lamina.data.batches import PackedBatches, Part
from lamina.data.objectives.masking import MaskedBatches, Masking, special_tokens
from lamina.data.objectives.pairs import Pairs
from lamina.data.objectives.sentences import NextSentence
from lamina.data.objectives.spans import Spans
from lamina.data.objectives.texts import Alike, Labelled, WholeTexts
from lamina.data.shards import Shards, ShardWriter
from lamina.kit.errors import InputError
from lamina.kit.log import MetricsWriter, read_metrics
from lamina.kit.progress import open_progress
from lamina.model.architectures.bert import bert
from lamina.model.architectures.seq2seq import marian, t5
from lamina.model.layers.heads import mean_token
from lamina.model.search import translate
from lamina.model.spec import ModelSpec, OutputSpec
from lamina.model.train import TrainParameters, TrainResult, train
from lamina.model.transformer import Transformer

START, END, CLS, SEP, MASK, FIRST, VOCABULARY = 0, 1, 2, 3, 4, 10, 30
FRAME = ((CLS,), (SEP,))
SENTINELS = [9, 8, 7, 6]
MASKING = Masking(mask=MASK, special=special_tokens(range(FIRST), VOCABULARY))


class Numbers:
    vocabulary, end_ids = VOCABULARY, (END,)

    def encode(self, text: str) -> list[int]:
        return [FIRST]


def shards(folder: Path, documents: list[list[int]], ids: list[str] | None = None) -> Shards:
    with ShardWriter(folder, Numbers()) as writer:  # type: ignore[arg-type]
        for number, tokens in enumerate(documents):
            writer.add(tokens, [True] * len(tokens), id=ids[number] if ids else str(number), source="s")
        return writer.close()


def counting(count: int, *, longest: int = 12, seed: int = 0) -> list[list[int]]:
    """Documents that count upwards, over and over from 10 to 29: any token can be told from another one."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        start, length = random.integers(0, 20), random.integers(4, longest + 1)
        found.append(((start + np.arange(length)) % 20 + FIRST).tolist())
    return found


def words(count: int, *, seed: int = 0, longest: int = 6) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(FIRST, VOCABULARY, random.integers(1, longest + 1)).tolist() for _ in range(count)]


def encoder(**more: Any) -> ModelSpec:
    return bert(vocabulary=VOCABULARY, width=48, layers=2, heads=4, inner=96, max_positions=32, **more)


def decoder(**more: Any) -> ModelSpec:
    return marian(
        vocabulary=VOCABULARY, width=48, layers=1, heads=4, inner=96, max_positions=32, start_token=START, **more
    )


def t5_like() -> ModelSpec:
    return t5(vocabulary=VOCABULARY, width=48, layers=1, heads=4, head_dim=12, inner=96, dropout=0.0)


def make(spec: ModelSpec) -> Transformer:
    torch.manual_seed(1)
    return Transformer(spec)


def masked(folder: Path, *, batch: int = 8) -> MaskedBatches:
    part = shards(folder, counting(200))
    packed = PackedBatches([(part, 1.0)], batch=batch, length=32, seed=0, form=WholeTexts(FRAME))
    return MaskedBatches(packed, MASKING, seed=0)


def reversing(folder: Path, *, batch: int = 16, count: int = 300) -> PackedBatches:
    given = words(count, longest=5)
    part = Part(
        shards=shards(folder / "targets", [row[::-1] for row in given]),
        sources=shards(folder / "sources", given),
        weight=1.0,
    )
    form = Pairs(start=START, end=END, source_length=32)
    return PackedBatches([part], batch=batch, length=32, seed=0, form=form)


def run(model: Transformer, stream: Any, work: Path, **settings: Any) -> TrainResult:
    teacher = settings.pop("teacher", None)
    usual: dict[str, Any] = {"steps": 200, "precision": "float32", "learning_rate": 3e-3, "checkpoint_s": None}
    torch.set_num_threads(1)
    return train(
        model,
        stream,
        parameters=TrainParameters(**usual | settings),
        work=work,
        progress=open_progress("quiet"),
        metrics=MetricsWriter(work / "metrics.jsonl"),
        teacher=teacher,
    )


def test_a_tiny_seq2seq_learns_to_reverse(tmp_path: Path) -> None:
    model = make(t5_like())
    run(model, reversing(tmp_path, batch=8, count=2000), tmp_path, steps=280)
    asked = words(40, seed=9, longest=5)
    found = translate(model, [[*row, END] for row in asked], end=END, max_tokens=8)
    right = sum(mine == row[::-1] for mine, row in zip(found, asked, strict=True))
    assert right >= 36, f"{right} of 40"


def test_a_tiny_bert_learns_to_fill(tmp_path: Path) -> None:
    model = make(encoder())
    result = run(model, masked(tmp_path), tmp_path, steps=350, learning_rate=4e-3)
    assert result.loss < 1.3
    ids = torch.tensor([[CLS, *counting(1, longest=12, seed=5)[0], SEP]])
    for place in range(2, ids.shape[1] - 2):
        hidden = ids.clone()
        hidden[0, place] = MASK
        with torch.no_grad():
            assert int(model.logits(model(hidden)[0, place]).argmax()) == int(ids[0, place])


def test_a_tiny_t5_learns_to_fill_in_spans(tmp_path: Path) -> None:
    form = Spans(sentinels=SENTINELS, start=START, end=END, source_length=32, noise=0.3, mean=2.0)
    model = make(t5_like())
    stream = PackedBatches([(shards(tmp_path, counting(200)), 1.0)], batch=8, length=20, seed=0, form=form)
    run(model, stream, tmp_path, steps=250, learning_rate=4e-3)
    said = translate(model, [[12, 13, SENTINELS[0], 16, 17, SENTINELS[1], END]], end=END, max_tokens=8)[0]
    assert said[:5] == [SENTINELS[0], 14, 15, SENTINELS[1], 18]


def test_a_classifier_separates_two_classes(tmp_path: Path) -> None:
    spec = dataclasses.replace(
        encoder(), head=None, outputs=(OutputSpec(kind="pooler"), OutputSpec(kind="classify", labels=2))
    )
    texts = words(400, longest=10)
    labels = np.asarray([int(sum(t < 20 for t in text) * 2 > len(text)) for text in texts])
    part = Part(shards=shards(tmp_path, texts), weight=1.0, labels=labels)
    model = make(spec)
    run(
        model,
        PackedBatches([part], batch=16, length=12, seed=0, form=Labelled(FRAME, labels=2)),
        tmp_path,
        steps=150,
        learning_rate=1e-3,
    )
    asked = words(100, seed=9, longest=10)
    with torch.no_grad():
        scores = [model.output("classify", model(torch.tensor([[CLS, *text, SEP]]))) for text in asked]
    wanted = [int(sum(t < 20 for t in text) * 2 > len(text)) for text in asked]
    right = sum(int(s.argmax()) == w for s, w in zip(scores, wanted, strict=True))
    assert right >= 92, f"{right} of 100"


def test_next_sentences_and_masks_are_learned_together(tmp_path: Path) -> None:
    # texts of low numbers and texts of high numbers: a sentence of another kind of text cannot follow
    documents, ids = [], []
    random = np.random.default_rng(0)
    for text in range(60):
        for _ in range(6):
            documents.append((random.integers(0, 10, 4) + FIRST + 10 * (text % 2)).tolist())
            ids.append(str(text))
    part = shards(tmp_path, documents, ids)
    form = NextSentence(first=CLS, last=SEP)
    stream = MaskedBatches(PackedBatches([(part, 1.0)], batch=16, length=20, seed=0, form=form), MASKING, seed=0)
    model = make(encoder(next_sentence=True))
    run(model, stream, tmp_path, steps=200, learning_rate=2e-3)
    right = total = 0
    for _ in range(10):
        batch = next(stream)
        assert batch.labels is not None
        assert batch.kinds is not None
        with torch.no_grad():
            hidden = model(
                torch.from_numpy(batch.inputs),
                segments=torch.from_numpy(batch.segments),
                kinds=torch.from_numpy(batch.kinds),
            )
            said = model.output("next-sentence", hidden).argmax(-1).numpy()
        right, total = right + int((said == batch.labels).sum()), total + len(said)
    # foreign texts of the same kind cannot be told apart: a quarter of all pairs is a guess
    assert right / total > 0.65


def test_texts_that_are_alike_come_near(tmp_path: Path) -> None:
    """A text and its counterpart share no token: the counterpart of n is n + 10."""
    random = np.random.default_rng(0)
    left = [random.integers(FIRST, 20, 4).tolist() for _ in range(400)]
    part = Part(
        shards=shards(tmp_path / "a", left),
        sources=shards(tmp_path / "b", [[t + 10 for t in row] for row in left]),
        weight=1.0,
    )
    model = make(dataclasses.replace(encoder(), head=None))

    def nearest() -> float:
        vectors: list[Tensor] = []
        for shift in (0, 10):
            ids = torch.tensor([[CLS, *(t + shift for t in row), SEP] for row in left[:50]])
            with torch.no_grad():
                vectors.append(torch.nn.functional.normalize(mean_token(model(ids), None), dim=-1))
        return float(((vectors[0] @ vectors[1].T).argmax(-1) == torch.arange(50)).float().mean())

    before = nearest()
    run(model, PackedBatches([part], batch=32, length=6, seed=0, form=Alike(FRAME)), tmp_path, steps=150)
    assert before < 0.4
    assert nearest() > 0.9


def test_a_student_comes_near_its_teacher(tmp_path: Path) -> None:
    teacher, student = make(encoder()), make(dataclasses.replace(encoder(), encoder=encoder().encoder))
    run(teacher, masked(tmp_path / "data"), tmp_path / "teacher", steps=150)
    torch.manual_seed(4)
    student.reset_parameters()
    kept = [p.clone() for p in teacher.parameters()]
    alone = run(student, masked(tmp_path / "again"), tmp_path / "student", steps=150, teacher=teacher, distill=1.0)
    assert alone.loss < 0.5, "four times the divergence from the teacher"
    assert all(torch.equal(a, b) for a, b in zip(kept, teacher.parameters(), strict=True))


class Stopping:
    """A stream that ends a run in the middle of a step."""

    def __init__(self, stream: Any, at: int) -> None:
        self._stream, self._left = stream, at

    def __next__(self) -> Any:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return next(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@pytest.mark.parametrize("kind", ["masked", "seq2seq"])
@pytest.mark.parametrize("killed_at", [1, 5, 8])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, kind: str, killed_at: int) -> None:
    spec = encoder(dropout=0.1) if kind == "masked" else decoder(dropout=0.1)
    stream: Callable[[], Any] = {
        "masked": lambda: _fresh(masked, tmp_path / "data"),
        "seq2seq": lambda: _fresh(reversing, tmp_path / "data"),
    }[kind]
    settings: dict[str, Any] = {"steps": 12, "checkpoint_steps": 3, "accumulate": 2}
    whole, broken, resumed = make(spec), make(spec), make(spec)
    run(whole, stream(), tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        run(broken, Stopping(stream(), 2 * killed_at + 2), tmp_path / "broken", **settings)
    run(resumed, stream(), tmp_path / "broken", **settings)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    figures = [
        [(row["step"], row["loss_nats"], row["tokens"]) for row in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("whole", "broken")
    ]
    assert figures[0] == figures[1]
    if killed_at > 3:
        again = make(spec)
        run(again, stream(), tmp_path / "again", **settings | {"seed": 1})
        assert not torch.equal(next(again.parameters()), next(whole.parameters())), "dropout was off"


def _fresh(make_stream: Callable[[Path], Any], folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    return make_stream(folder / str(len(list(folder.iterdir()))))


@pytest.mark.parametrize("kind", ["masked", "seq2seq"])
def test_weights_that_are_not_finite_are_told(tmp_path: Path, kind: str) -> None:
    model = make(encoder() if kind == "masked" else decoder())
    with torch.no_grad():
        next(model.parameters())[FIRST] = float("nan")
    stream = masked(tmp_path / "data") if kind == "masked" else reversing(tmp_path / "data")
    with pytest.raises(InputError, match="not finite"):
        run(model, stream, tmp_path, steps=20)


def test_targets_hidden_from_the_model_are_what_is_learned(tmp_path: Path) -> None:
    batch = next(masked(tmp_path))
    hit = batch.targets != IGNORED
    assert 0 < hit.sum() == batch.learned < batch.inputs.size / 4
