"""Losses against plain formulas and `transformers`; accumulation; what a model cannot learn from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lamina.contracts.tokens import IGNORED, Batch
from lamina.kit.errors import ConfigError, InputError
from lamina.model.architectures.bert import bert
from lamina.model.architectures.gpt import llama
from lamina.model.architectures.seq2seq import marian, t5
from lamina.model.checkpoint import open_model
from lamina.model.layers.heads import mean_token
from lamina.model.lora import add_lora
from lamina.model.spec import ModelSpec, OutputSpec
from lamina.model.train.objectives import Aims, Counts, batch_loss, check_teacher
from lamina.model.transformer import Transformer

CPU, VOCABULARY = torch.device("cpu"), 60
TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}


def small(kind: str) -> ModelSpec:
    sizes: dict[str, Any] = {"vocabulary": VOCABULARY, "width": 32, "heads": 4}
    encoder: Any = bert(**sizes, layers=2, inner=48, max_positions=32, next_sentence=kind == "pretraining")
    specs = {
        "causal": lambda: llama(**sizes, layers=2, max_positions=32),
        "masked": lambda: encoder,
        "pretraining": lambda: encoder,
        "classify": lambda: dataclasses.replace(
            encoder, head=None, outputs=(OutputSpec(kind="pooler"), OutputSpec(kind="classify", labels=3))
        ),
        "embed": lambda: dataclasses.replace(encoder, head=None),
        "seq2seq": lambda: marian(**sizes, layers=2, inner=48, max_positions=32, start_token=0, dropout=0.0),
        "t5": lambda: t5(**sizes, layers=2, head_dim=8, inner=48, gated=False, dropout=0.0),
    }
    return specs[kind]()


def make(kind: str, seed: int = 3) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(small(kind))
    with torch.no_grad():  # fresh biases are zeros, which would hide mistakes
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def rows(kind: str, count: int, *, length: int = 12, seed: int = 0) -> Batch:
    """Rows of two packed documents and padding; some have few learned tokens, some none."""
    random = np.random.default_rng(seed)
    shape = (count, length)
    cut = random.integers(3, length - 4, (count, 1))
    places = np.arange(length)[None]
    one_text = kind in ("pretraining", "classify", "embed")
    segments = np.where(places < cut, 1, np.where(places < length - 2, 1 if one_text else 2, 0))
    targets = random.integers(0, VOCABULARY, shape)
    shares = random.random((count, 1)) * (0.5 if kind == "masked" else 1.5)
    targets[(random.random(shape) > shares) | (segments == 0)] = IGNORED
    targets[1] = IGNORED
    more: dict[str, Any] = {}
    if kind in ("seq2seq", "t5", "embed"):
        more["sources"] = random.integers(0, VOCABULARY, (count, length + 3))
        more["source_segments"] = np.pad(segments, ((0, 0), (0, 3)))
    if kind == "pretraining":
        more["kinds"] = (places >= cut).astype(np.int64)
        more["labels"] = random.integers(0, 2, count)
        more["labels"][2] = IGNORED
    if kind == "classify":
        more["labels"] = random.integers(0, 3, count)
    if kind == "embed":
        more["labels"] = np.arange(count)
    if kind in ("classify", "embed"):
        targets[:] = IGNORED
    positions = np.where(segments == 2, places - cut, np.where(segments == 0, 0, places))
    return Batch(
        inputs=random.integers(0, VOCABULARY, shape), targets=targets, segments=segments, positions=positions, **more
    )


def part(batch: Batch, some: slice) -> Batch:
    arrays = {f.name: getattr(batch, f.name) for f in dataclasses.fields(Batch)}
    return Batch(**{name: None if array is None else array[some] for name, array in arrays.items()})


@pytest.mark.parametrize("kind", ["causal", "masked", "seq2seq", "t5", "pretraining", "classify"])
@pytest.mark.parametrize("cuts", [[16, 32, 48], [1, 2, 33]])
def test_accumulation_equals_one_large_batch(kind: str, cuts: list[int]) -> None:
    batch = rows(kind, 64)
    parts = [part(batch, slice(a, b)) for a, b in zip([0, *cuts], [*cuts, 64], strict=True)]
    assert len({p.learned_tokens for p in parts}) == 4 or kind == "classify"
    counts = Counts.of(parts)
    assert counts == Counts.of([batch])
    whole, pieces = make(kind), make(kind)
    loss = batch_loss(whole, batch, CPU, counts)
    loss.backward()
    total = torch.zeros(())
    for one in parts:
        if one.learned:
            share = batch_loss(pieces, one, CPU, counts)
            share.backward()
            total += share.detach()
    torch.testing.assert_close(total, loss.detach(), rtol=1e-6, atol=1e-6)
    for (name, a), b in zip(whole.named_parameters(), pieces.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None and b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", ["causal", "masked", "seq2seq", "t5"])
def test_the_loss_is_the_cross_entropy_of_all_logits(kind: str) -> None:
    model, batch = make(kind), rows(kind, 6)
    more = {}
    if batch.sources is not None and batch.source_segments is not None:
        more = {
            "sources": torch.from_numpy(batch.sources),
            "source_segments": torch.from_numpy(batch.source_segments),
        }
    hidden = model(torch.from_numpy(batch.inputs), segments=torch.from_numpy(batch.segments), **more)
    plain = F.cross_entropy(
        model.logits(hidden).flatten(0, 1), torch.from_numpy(batch.targets).flatten(), reduction="sum"
    )
    plain.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    loss = batch_loss(model, batch, CPU)
    loss.backward()
    torch.testing.assert_close(loss, plain)
    for name, parameter in model.named_parameters():
        if name in wanted:
            torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-5, msg=name)
    assert "head.bias" in wanted or kind in ("causal", "t5")


def test_only_hidden_positions_go_through_the_head() -> None:
    model, batch = make("masked"), rows("masked", 8)
    seen: list[int] = []
    assert model.head is not None
    model.head.transform.register_forward_hook(lambda _m, given, _out: seen.append(given[0].shape[0]))  # type: ignore[union-attr, operator]
    batch_loss(model, batch, CPU)
    assert seen == [batch.learned_tokens]
    assert batch.learned_tokens < batch.inputs.size / 3


class TestAgainstTransformers:
    def test_bert_pretraining(self, reference: Any) -> None:
        folder, theirs = reference("bert-pretraining")
        batch = rows("pretraining", 5)
        assert batch.labels is not None
        assert batch.kinds is not None
        batch.labels[2] = 1
        wanted = theirs(
            input_ids=torch.from_numpy(batch.inputs),
            attention_mask=torch.from_numpy(batch.segments),
            token_type_ids=torch.from_numpy(batch.kinds),
            labels=torch.from_numpy(batch.targets),
            next_sentence_label=torch.from_numpy(batch.labels),
        ).loss
        ours = batch_loss(open_model(folder), batch, CPU, Counts.of([batch]))
        torch.testing.assert_close(ours, wanted, **TOLERANCE)

    def test_bert_classification(self, reference: Any) -> None:
        folder, theirs = reference("bert-classify")
        batch = rows("classify", 5)
        assert batch.labels is not None
        wanted = theirs(
            input_ids=torch.from_numpy(batch.inputs),
            attention_mask=torch.from_numpy(batch.segments),
            labels=torch.from_numpy(batch.labels),
        ).loss
        ours = batch_loss(open_model(folder), batch, CPU, Counts.of([batch]))
        torch.testing.assert_close(ours, wanted, **TOLERANCE)

    def test_seq2seq(self, reference: Any, seq2seq: str) -> None:
        folder, theirs = reference(seq2seq)
        batch = rows("seq2seq", 5)
        one = np.where(batch.segments > 0, 1, 0)
        assert batch.source_segments is not None
        assert batch.sources is not None
        sources = np.where(batch.source_segments > 0, 1, 0)
        batch = dataclasses.replace(
            batch, segments=one, source_segments=sources, positions=np.broadcast_to(np.arange(12), one.shape).copy()
        )
        wanted = theirs(
            input_ids=torch.from_numpy(batch.sources),
            attention_mask=torch.from_numpy(sources),
            decoder_input_ids=torch.from_numpy(batch.inputs),
            labels=torch.from_numpy(batch.targets),
        ).loss
        ours = batch_loss(open_model(folder), batch, CPU, Counts.of([batch]))
        torch.testing.assert_close(ours, wanted, **TOLERANCE)


class TestContrastive:
    def test_equals_the_formula(self) -> None:
        model, batch = make("embed"), rows("embed", 6)
        assert batch.sources is not None
        assert batch.source_segments is not None
        vectors = []
        for ids, segments in ((batch.inputs, batch.segments), (batch.sources, batch.source_segments)):
            marks = torch.from_numpy(segments)
            vectors.append(mean_token(model(torch.from_numpy(ids), segments=marks), marks))
        likeness = F.cosine_similarity(vectors[0][:, None], vectors[1][None], dim=-1) / 0.1
        wanted = -likeness.log_softmax(-1).diagonal().sum()
        torch.testing.assert_close(batch_loss(model, batch, CPU, aims=Aims(temperature=0.1)), wanted, **TOLERANCE)

    def test_padding_changes_nothing(self) -> None:
        model, batch = make("embed"), rows("embed", 6)
        assert batch.sources is not None
        assert batch.source_segments is not None
        other = dataclasses.replace(
            batch,
            inputs=np.where(batch.segments > 0, batch.inputs, 7),
            sources=np.where(batch.source_segments > 0, batch.sources, 9),
        )
        torch.testing.assert_close(batch_loss(model, batch, CPU), batch_loss(model, other, CPU), **TOLERANCE)

    def test_further_sources_are_further_negatives(self) -> None:
        model, batch = make("embed"), rows("embed", 6)
        some = dataclasses.replace(
            part(batch, slice(0, 3)), sources=batch.sources, source_segments=batch.source_segments
        )
        assert batch_loss(model, some, CPU) > batch_loss(model, part(batch, slice(0, 3)), CPU)


class TestDistillation:
    @pytest.mark.parametrize("kind", ["causal", "masked", "seq2seq"])
    def test_equals_the_formula(self, kind: str) -> None:
        model, teacher, batch = make(kind), make(kind, seed=9), rows(kind, 6)
        learned = torch.from_numpy(batch.targets) != IGNORED
        more: Any = {}
        if batch.sources is not None and batch.source_segments is not None:
            more = {
                "sources": torch.from_numpy(batch.sources),
                "source_segments": torch.from_numpy(batch.source_segments),
            }
        ids, segments = torch.from_numpy(batch.inputs), torch.from_numpy(batch.segments)
        ours, theirs = (m.logits(m(ids, segments=segments, **more))[learned] for m in (model, teacher))
        soft = (theirs / 3).softmax(-1).detach()
        apart = (soft * (soft.log() - (ours / 3).log_softmax(-1))).sum()
        hard = F.cross_entropy(ours, torch.from_numpy(batch.targets)[learned], reduction="sum")
        wanted = 0.3 * hard + 0.7 * 9 * apart
        loss = batch_loss(model, batch, CPU, aims=Aims(teacher=teacher, share=0.7, softness=3.0))
        torch.testing.assert_close(loss, wanted, **TOLERANCE)
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        grads = torch.autograd.grad(wanted, list(model.parameters()), allow_unused=True)
        loss.backward()
        for name, parameter, grad in zip(names, model.parameters(), grads, strict=True):
            if grad is not None:
                torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-5, msg=name)
        assert all(p.grad is None for p in teacher.parameters())

    def test_a_teacher_that_is_the_model_adds_nothing(self) -> None:
        model, batch = make("masked"), rows("masked", 6)
        loss = batch_loss(model, batch, CPU, aims=Aims(teacher=make("masked"), share=1.0))
        assert abs(loss.item()) < 1e-3

    def test_labels_are_distilled_too(self) -> None:
        model, batch = make("classify"), rows("classify", 6)
        hard = batch_loss(model, batch, CPU)
        half = batch_loss(model, batch, CPU, aims=Aims(teacher=make("classify"), share=0.5))
        torch.testing.assert_close(half, hard / 2, **TOLERANCE)

    def test_an_adapter_on_the_head_learns_the_same(self) -> None:
        model, teacher, batch = make("causal"), make("causal", seed=9), rows("causal", 6)
        aims = Aims(teacher=teacher)
        plain = batch_loss(model, batch, CPU, aims=aims)
        add_lora(model, rank=2, targets=("q", "head"))
        torch.testing.assert_close(batch_loss(model, batch, CPU, aims=aims), plain, **TOLERANCE)

    def test_a_teacher_of_another_vocabulary_is_refused(self) -> None:
        other = Transformer(llama(vocabulary=50, width=32, layers=1, heads=4))
        with pytest.raises(ConfigError, match="50 tokens, the model 60"):
            check_teacher(make("causal"), other)


class TestRefused:
    @pytest.mark.parametrize(
        ("kind", "array", "value", "words"),
        [
            ("causal", "inputs", VOCABULARY, "token 60, and the model knows 0 to 59"),
            ("causal", "inputs", -1, "token -1"),
            ("causal", "targets", VOCABULARY, "target 60"),
            ("seq2seq", "sources", VOCABULARY, "token of a source 60"),
            ("masked", "positions", 32, "32 positions"),
            ("pretraining", "kinds", 2, "kind of token 2"),
            ("classify", "labels", 3, "label 3, and the model knows 0 to 2"),
            ("classify", "labels", -1, "label -1"),
            ("pretraining", "labels", 2, "label 2"),
            ("embed", "labels", 5, "label 5, and the model knows 0 to 4"),
        ],
    )
    def test_ids_that_the_model_does_not_know(self, kind: str, array: str, value: int, words: str) -> None:
        batch = rows(kind, 5)
        getattr(batch, array).flat[0] = value
        with pytest.raises(InputError, match=words):
            batch_loss(make(kind), batch, CPU)

    def test_numbers_that_are_not_whole(self) -> None:
        batch = rows("classify", 4)
        broken = dataclasses.replace(batch, labels=np.asarray([0.0, 1.0, np.nan, 2.0]))
        with pytest.raises(InputError, match="float64, not whole numbers"):
            batch_loss(make("classify"), broken, CPU)

    def test_what_the_model_has_no_output_for(self) -> None:
        with pytest.raises(ConfigError, match="no head over the vocabulary"):
            batch_loss(make("classify"), dataclasses.replace(rows("masked", 4), labels=None), CPU)
        with pytest.raises(ConfigError, match="no outputs for them"):
            batch_loss(make("masked"), rows("classify", 4), CPU)
        with pytest.raises(ConfigError, match="needs 'sources'"):
            batch_loss(make("seq2seq"), rows("causal", 4), CPU)

    @pytest.mark.parametrize("kind", ["masked", "t5"])
    def test_an_adapter_on_a_head_with_a_transform_or_a_scale(self, kind: str) -> None:
        with pytest.raises(ConfigError, match="takes no adapter"):
            add_lora(make(kind), rank=2, targets=("head",))


@pytest.mark.parametrize("kind", ["causal", "masked", "seq2seq", "pretraining", "classify", "embed"])
def test_a_batch_of_one_and_a_document_of_one_token(kind: str) -> None:
    batch = rows(kind, 4)
    one = part(batch, slice(3, 4))
    if one.labels is not None and kind == "embed":
        one.labels[:] = 0
    short = dataclasses.replace(one, segments=np.zeros_like(one.segments))
    short.segments[0, 0] = 1
    for given in (one, short):
        loss = batch_loss(make(kind), given, CPU, Counts.of([given]))
        loss.backward()
        assert torch.isfinite(loss)


def test_a_batch_without_anything_to_learn_costs_nothing() -> None:
    loss = batch_loss(make("causal"), part(rows("causal", 4), slice(1, 2)), CPU)
    loss.backward()
    assert loss.item() == 0.0
