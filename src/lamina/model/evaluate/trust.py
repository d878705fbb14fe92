"""Is the folder that was written the model that was trained? Checks that anyone would do who was let down before.

Silent breaks of tied matrices, of exported folders and of ends of answers that nobody learned are what users of other
libraries report most often; each is looked for after every training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lamina.contracts.chat import Message
from lamina.contracts.tokens import Batch
from lamina.contracts.trust import Finding, found
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.checkpoint import model_of, read_config, read_tensors, save_model, spec_of
from lamina.model.families import family_of_config
from lamina.model.transformer import Transformer, table_name

_ROWS, _PLACES = 2, 64  # of the batch whose outputs are compared
_SAME = 1e-5  # how far outputs may differ in float32; the same weights on the same machine differ by nothing
#: What is rendered to see which tokens are learned: one turn, several, and a system message before them.
CONVERSATIONS: tuple[tuple[Message, ...], ...] = (
    (Message("user", "Where do whales sleep?"), Message("assistant", "In the sea.")),
    (
        Message("user", "Where?"),
        Message("assistant", "In the sea."),
        Message("user", "How long?"),
        Message("assistant", "A few minutes."),
    ),
    (Message("system", "Be brief."), Message("user", "Why?"), Message("assistant", "To breathe.")),
)


def check_folder(model: Transformer, folder: Path, batch: Batch) -> list[Finding]:
    """Compare ``model`` in memory with what was saved of it in ``folder``: outputs on ``batch``, bytes, ties."""
    stored = read_tensors(folder)
    opened = model_of(folder, stored)
    opened.to(model.stack.embeddings.token.weight.device)
    outputs = _outputs(model.eval(), opened, batch)
    return [outputs, _round_trip(opened.cpu(), folder, stored), _ties(model, opened, folder, stored.keys())]


@torch.inference_mode()
def _outputs(model: Transformer, opened: Transformer, batch: Batch) -> Finding:
    what = "the saved folder computes what the trained model does"
    pairs = [(name, a, b) for (name, a), (_, b) in zip(_run(model, batch), _run(opened, batch), strict=True)]
    worst = max(float((a.float() - b.float()).abs().max()) for _, a, b in pairs)
    names = ", ".join(name for name, _, _ in pairs)
    equal = all(torch.equal(a, b) for _, a, b in pairs)
    size = f"{pairs[0][1].shape[0] * pairs[0][1].shape[1]:,} places of training data"
    words = "equal to the bit" if equal else f"largest difference {worst:.2g}"
    return found(what, worst <= _SAME, f"{names} on {size}: {words}")


def _run(model: Transformer, batch: Batch) -> list[tuple[str, Tensor]]:
    """The hidden states, and what each head makes of them."""
    device = model.stack.embeddings.token.weight.device
    part = slice(_ROWS), slice(_PLACES)
    given = {
        name: torch.from_numpy(array[part]).to(device)
        for name in ("positions", "segments", "kinds", "sources", "source_segments")
        if (array := getattr(batch, name)) is not None
    }
    if model.encoder is None or model.decoder is None:
        given = {name: tensor for name, tensor in given.items() if not name.startswith("source")}
    hidden = model(torch.from_numpy(batch.inputs[part]).to(device), **given)
    said = [("hidden states", hidden)]
    if model.head is not None:
        said.append(("logits", model.logits(hidden)))
    return said + [(kind, model.output(kind, hidden, segments=given.get("segments"))) for kind in model.outputs]


def _round_trip(opened: Transformer, folder: Path, first: Mapping[str, Tensor]) -> Finding:
    what = "opened, saved and opened again it is the same"
    with tempfile.TemporaryDirectory(prefix=".again-", dir=folder.parent) as name:
        save_model(opened, Path(name), like=folder)
        second = read_tensors(Path(name))
        same = first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
        same = same and spec_of(Path(name), second) == opened.spec
    count = sum(tensor.numel() for tensor in first.values())
    return found(what, same, f"{len(first):,} tensors, {count:,} numbers, {'all equal' if same else 'not all equal'}")


def _ties(model: Transformer, opened: Transformer, folder: Path, names: Collection[str]) -> Finding:
    what = "the head is tied to the embedding as the folder says"
    if model.spec.head is None or opened.spec.head is None:
        return found(what, None, "there is no head over the vocabulary")
    config = read_config(folder)
    family = family_of_config(config, str(folder))
    alone = family.their_name("head.weight") in names and family.their_name(table_name(opened.spec)) in names
    shared = opened.head is not None and opened.head.weight is opened.stack.embeddings.token.weight
    tied = model.spec.head.tied
    held = f"{'one matrix' if shared else 'two matrices'} in memory, {'two' if alone else 'one'} in the file"
    right = shared == tied and opened.spec.head.tied == tied and alone != tied
    return found(what, right, f"declared {'tied' if tied else 'not tied'}; {held}")


def check_ends(
    tokenizer: ModelTokenizer, rows: Iterable[tuple[Sequence[int], Sequence[bool]]] | None = None
) -> list[Finding]:
    """Is the token that ends an answer among those that are learned: under the chat template, and in training rows?

    ``rows``: token ids and which of them carry loss, a conversation each; None where the training had none.
    """
    template = "the model's own chat template" if tokenizer.chat_template else "the plain template"
    turns = ended = 0
    for messages in CONVERSATIONS:
        rendered = tokenizer.render(messages)
        last = _lasts(rendered.ids, rendered.learned)
        turns += sum(message.role == "assistant" for message in messages)
        ended += sum(token in tokenizer.end_ids for token in last)
    findings = [
        found(
            "the end of an answer is learned under the chat template",
            ended == turns,
            f"{ended} of {turns} answers under {template}",
        )
    ]
    what = "the end of an answer is learned in the chat rows of the training data"
    if rows is None:
        return [*findings, found(what, None, "the training had no chat rows")]
    good = count = 0
    for ids, learned in rows:
        count += 1
        last = _lasts(ids, learned)
        good += bool(last) and all(token in tokenizer.end_ids for token in last)
    return [*findings, found(what, good == count if count else None, f"{good:,} of {count:,} rows looked at")]


def _lasts(ids: Sequence[int], learned: Sequence[bool]) -> list[int]:
    """The last token of each stretch that is learned."""
    after = [*learned[1:], False]
    return [int(i) for i, now, then in zip(ids, learned, after, strict=True) if now and not then]
