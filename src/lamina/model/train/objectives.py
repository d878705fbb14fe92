"""What a batch teaches a model: the losses follow from what the batch holds and from the model's heads.

- ``targets`` go to the head over the vocabulary: the next token, the hidden one (masked language model), the
  translation, the spans that were cut out. Only learned positions go through the head (sparse prediction).
- ``labels`` go to the output for texts: "classify" (arXiv 1810.04805, 4.1) or "next-sentence" (3.1, task 2).
- ``references`` make it a batch of answers of which some are preferred: DPO on pairs, KTO on judged ones.
- ``labels`` beside ``sources`` for a model without cross-attention: which of the sources is like the row's text
  (InfoNCE with in-batch negatives, arXiv 1807.03748, 1705.00652).

The loss of a step is the sum over the learned tokens of all its micro-batches divided by their number, plus the same
for its labels, so that accumulation equals one large batch exactly; of contrastive losses too, save that each row is
compared with its own micro-batch alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.contracts.tokens import IGNORED, Batch
from lamina.kit.errors import ConfigError, InputError
from lamina.model.layers.heads import VocabularyHead, mean_token
from lamina.model.lora import LoraLinear
from lamina.model.spec import StackSpec
from lamina.model.train.loss import chunked_cross_entropy, chunked_distillation, mixed
from lamina.model.train.preferences import answer_log_probabilities, divergence, dpo_loss, kto_loss
from lamina.model.transformer import Transformer

_WHERE = "model.train"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a loss is divided by: learned tokens, and learned labels."""

    tokens: int = 1
    labels: int = 1

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> Counts:
        """Of the micro-batches of one step."""
        given = list(batches)
        return cls(sum(batch.learned_tokens for batch in given), sum(batch.learned_labels for batch in given))


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """What else a loss depends on. ``temperature``: that likenesses of texts are divided by. ``beta``, ``smoothing``,
    ``weights``: of preferences, see ``dpo_loss`` and ``kto_loss``. ``teacher``: a model whose
    scores count for ``share`` of the loss, softened by ``softness`` (knowledge distillation, arXiv 1503.02531)."""

    temperature: float = 0.05
    beta: float = 0.1
    smoothing: float = 0.0
    weights: tuple[float, float] = (1.0, 1.0)
    teacher: Transformer | None = None
    share: float = 0.5
    softness: float = 2.0


def batch_loss(
    model: Transformer, batch: Batch, device: torch.device, counts: Counts | None = None, aims: Aims | None = None
) -> Tensor:
    """The batch's share of the loss (nats) of a step that learns ``counts``; without them, the sum of its losses.

    Raises ``InputError`` for ids and labels that the model does not know, ``ConfigError`` where it has no output.
    """
    counts, aims = counts or Counts(), aims or Aims()
    check_batch(model, batch)
    on = _Arrays(batch, device)
    if batch.references is not None:
        return _preferred(model, on, aims) / counts.labels
    if batch.sources is not None and not _crosses(model):
        return _contrastive(model, on, aims.temperature) / counts.labels
    hidden = on.hidden(model)
    theirs = None
    if aims.teacher is not None:
        with torch.no_grad():
            theirs = on.hidden(aims.teacher)
    losses: list[Tensor] = []
    if batch.learned_tokens:
        learned = on.targets != IGNORED
        soft = None if theirs is None else theirs[learned]
        losses.append(token_loss(model, hidden[learned], on.targets[learned], aims, soft) / counts.tokens)
    if batch.learned_labels:
        losses.append(_label_loss(model, hidden, on, aims, theirs) / counts.labels)
    return torch.stack(losses).sum() if losses else hidden.sum() * 0.0


def check_teacher(model: Transformer, teacher: Transformer | None) -> None:
    """Raise ``ConfigError`` where a teacher's scores are of something else than the model's."""
    ours, theirs = (None if m is None else m.spec.stack.embeddings.vocabulary for m in (model, teacher))
    if teacher is not None and ours != theirs:
        raise ConfigError(
            f"the teacher has {theirs} tokens, the model {ours}", where=_WHERE, hint="both need the same tokenizer"
        )


def check_batch(model: Transformer, batch: Batch) -> None:
    """Raise ``InputError`` where the batch holds what the model cannot take, before it fails without words."""
    spec = model.spec
    for name in ("inputs", "targets", "segments", "positions", "sources", "source_segments", "kinds", "labels"):
        array = getattr(batch, name)
        if array is not None and not np.issubdtype(array.dtype, np.integer):
            raise InputError(f"the batch's '{name}' are {array.dtype}, not whole numbers", where=_WHERE)
    stack = spec.stack
    _known("token", batch.inputs, stack.embeddings.vocabulary)
    _known("target", batch.targets[batch.targets != IGNORED], stack.embeddings.vocabulary)
    _in_reach("position", batch.positions, stack, spec.max_positions)
    if batch.kinds is not None and stack.embeddings.segments:
        _known("kind of token", batch.kinds, stack.embeddings.segments)
    if batch.sources is not None:
        reader = spec.encoder or stack
        _known("token of a source", batch.sources, reader.embeddings.vocabulary)
        _in_reach("position of a source", np.asarray([[batch.sources.shape[1] - 1]]), reader, spec.max_positions)
    if batch.references is not None:
        if not np.isfinite(batch.references).all() or len(batch.references) != len(batch.inputs):
            raise InputError("each answer needs a finite log-probability by the reference", where=_WHERE)
        if batch.labels is not None:
            _known("judgement", batch.labels[batch.labels != IGNORED], 2)
    elif batch.labels is not None:
        pairs = batch.sources is not None and not _crosses(model)
        count = len(batch.sources) if pairs and batch.sources is not None else _labels(model)
        _known("label", batch.labels[batch.labels != IGNORED], count)


def _known(what: str, ids: Any, count: int) -> None:
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= count):
        wrong = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        raise InputError(
            f"the batch holds {what} {wrong}, and the model knows 0 to {count - 1}",
            where=_WHERE,
            hint="was it made for this model, with its tokenizer?",
        )


def _in_reach(what: str, places: Any, stack: StackSpec, most: int) -> None:
    if stack.embeddings.positions == "learned" and places.size and int(places.max()) >= most:
        raise InputError(
            f"the batch holds {what} {int(places.max())}, and the model has {most} positions",
            where=_WHERE,
            hint=f"model.train.length = {most}",
        )


class _Arrays:
    """A batch's arrays as tensors on a device."""

    def __init__(self, batch: Batch, device: torch.device) -> None:
        def on(array: Any) -> Tensor:
            return torch.from_numpy(array).to(device)

        def perhaps(array: Any) -> Tensor | None:
            return None if array is None else on(array)

        self.inputs, self.targets, self.segments = on(batch.inputs), on(batch.targets), on(batch.segments)
        self.positions, self.kinds, self.labels = on(batch.positions), perhaps(batch.kinds), perhaps(batch.labels)
        self.references = None if batch.references is None else on(batch.references).float()
        self.sources, self.source_segments = perhaps(batch.sources), perhaps(batch.source_segments)

    def hidden(self, model: Transformer) -> Tensor:
        """The model's hidden states (B, T, D)."""
        out: Tensor = model(
            self.inputs,
            positions=self.positions,
            segments=self.segments,
            kinds=self.kinds,
            sources=self.sources,
            source_segments=self.source_segments,
        )
        return out


def token_loss(model: Transformer, chosen: Tensor, wanted: Tensor, aims: Aims, theirs: Tensor | None = None) -> Tensor:
    """The sum over some places of the loss of their hidden states ``chosen`` (N, D) by what they are to say, ``wanted``
    (N,), but for those that are ``IGNORED``; ``theirs`` (N, D'): the teacher's states."""
    head = model.head
    teacher = None if theirs is None or aims.teacher is None else _Scores(aims.teacher, theirs)
    if isinstance(head, LoraLinear):
        scores = head(chosen).float()
        if teacher is None:
            return F.cross_entropy(scores, wanted, reduction="sum")
        return mixed(scores, wanted, teacher(slice(None)), share=aims.share, temperature=aims.softness)
    if head is None:
        raise ConfigError(
            "the batch has tokens to learn, and the model has no head over the vocabulary",
            where=_WHERE,
            hint="a BertForMaskedLM or BertForPreTraining has one",
        )
    if not isinstance(head, nn.Linear):
        raise ConfigError("only a model with float weights can be trained", where=_WHERE, hint="train the parent")
    prepared = head.prepare(chosen) if isinstance(head, VocabularyHead) else chosen
    if teacher is None:
        return chunked_cross_entropy(prepared, head.weight, wanted, head.bias)
    return chunked_distillation(
        prepared, head.weight, wanted, teacher, bias=head.bias, share=aims.share, temperature=aims.softness
    )


class _Scores:
    """A teacher's scores of some rows of its hidden states (N, D)."""

    def __init__(self, teacher: Transformer, hidden: Tensor) -> None:
        self._teacher, self._hidden = teacher, hidden

    @torch.no_grad()
    def __call__(self, rows: slice) -> Tensor:
        return self._teacher.logits(self._hidden[rows])


def _label_loss(model: Transformer, hidden: Tensor, on: _Arrays, aims: Aims, theirs: Tensor | None) -> Tensor:
    """The sum over the labels of rows."""
    assert on.labels is not None
    learned, kind = on.labels != IGNORED, _output(model)
    segments = on.segments[learned]
    scores = model.output(kind, hidden[learned], segments=segments).float()
    wanted = on.labels[learned]
    if theirs is None or aims.teacher is None:
        return F.cross_entropy(scores, wanted, reduction="sum")
    with torch.no_grad():
        soft = aims.teacher.output(_output(aims.teacher), theirs[learned], segments=segments)
    return mixed(scores, wanted, soft, share=aims.share, temperature=aims.softness)


def _preferred(model: Transformer, on: _Arrays, aims: Aims) -> Tensor:
    """The sum over pairs (DPO) or judged answers (KTO)."""
    assert on.references is not None
    if on.labels is None:
        policy = answer_log_probabilities(model, on.inputs, on.targets, on.segments)
        return dpo_loss(policy, on.references, beta=aims.beta, smoothing=aims.smoothing).loss
    judged, other = on.labels != IGNORED, on.labels == IGNORED
    baseline = torch.zeros((), device=on.inputs.device)
    if bool(other.any()):
        with torch.no_grad():
            some = answer_log_probabilities(model, on.inputs[other], on.targets[other], on.segments[other])
        baseline = divergence(some, on.references[other])
    policy = answer_log_probabilities(model, on.inputs[judged], on.targets[judged], on.segments[judged])
    wanted = on.labels[judged] == 1
    return kto_loss(policy, on.references[judged], wanted, baseline, beta=aims.beta, weights=aims.weights).loss


def _contrastive(model: Transformer, on: _Arrays, temperature: float) -> Tensor:
    """The sum over rows of the cross-entropy of which source is the row's: cosines of mean vectors / temperature."""
    assert on.sources is not None
    assert on.labels is not None
    texts = mean_token(model(on.inputs, positions=on.positions, segments=on.segments), on.segments)
    others = mean_token(model(on.sources, segments=on.source_segments), on.source_segments)
    likeness = F.normalize(texts.float(), dim=-1) @ F.normalize(others.float(), dim=-1).T
    return F.cross_entropy(likeness / temperature, on.labels, reduction="sum", ignore_index=IGNORED)


def _crosses(model: Transformer) -> bool:
    return model.spec.encoder is not None and model.spec.decoder is not None


def _output(model: Transformer) -> str:
    """The output that labels go to."""
    known = [kind for kind in ("classify", "next-sentence") if kind in model.outputs]
    if len(known) != 1:
        raise ConfigError(
            f"the batch has labels, and the model has {len(known) or 'no'} outputs for them",
            where=_WHERE,
            hint='one of "classify" and "next-sentence"',
        )
    return known[0]


def _labels(model: Transformer) -> int:
    output: Any = model.outputs[_output(model)]
    return int(output.out_features)
