"""The trust report of a run: ``trust.json`` beside its model, a line a check, each with what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.contracts.trust import Finding, as_json, found
from lamina.kit.durable import atomic_write

if TYPE_CHECKING:
    from lamina.contracts.tokens import BatchStream
    from lamina.data.shards import Shards
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.transformer import Transformer

FILE = "trust.json"
_ROWS = 64  # chat rows that are looked at
_TALKS = ("causal-lm", "dpo", "kto")  # objectives whose models hold conversations


def write_trust(
    staging: Path,
    model: Transformer,
    tokenizer: ModelTokenizer,
    stream: BatchStream,
    *,
    objective: str,
    before: Sequence[Finding] = (),
    chat: Sequence[Shards] = (),
    about: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Check the model that was saved in ``staging / "model"``; a line each, those of ``before`` among them.

    ``chat``: conversations that were trained on. ``about``: ``contamination`` (of the evaluation's questions and tasks,
    as ``contamination.questions_in`` has it) and ``corpus`` (a folder), where they are known.
    """
    from lamina.model.evaluate.trust import check_ends, check_folder

    place = stream.state()
    batch = next(stream)
    stream.restore(place)
    findings = check_folder(model, staging / "model", batch)
    if objective in _TALKS and tokenizer.chats:
        findings += check_ends(tokenizer, _rows(chat) if chat else None)
    told = dict(about or {})
    findings += [*before, evaluation_apart(told.get("contamination")), _splits_apart(told.get("corpus"))]
    atomic_write(staging / FILE, json.dumps(as_json(findings), indent=1, ensure_ascii=False).encode())
    return findings


def evaluation_apart(contamination: Mapping[str, Any] | None) -> Finding:
    """Whether the documents hold what the model is judged by, from what the search for it found."""
    from lamina.data.clean.contamination import in_words

    what = "the documents do not hold the questions and tasks of the evaluation"
    if contamination is None:
        return found(what, None, "there are none, or a step drops the documents that hold them")
    if "failed" in contamination:
        return found(what, None, str(contamination["failed"]))
    return found(what, not contamination["documents"], in_words(contamination))


def _splits_apart(corpus: str | None) -> Finding:
    """Whether a held-out document has the text of one that was trained on. Near copies stay together by the split."""
    import polars as pl

    what = "no held-out document has the text of a training document"
    files = {
        side: sorted((Path(corpus) / "data").glob(f"{side}-*.parquet")) if corpus else []
        for side in ("train", "held_out")
    }
    if not all(files.values()):
        return found(what, None, "there are no held-out documents")
    held, train = (pl.scan_parquet(files[side]).select("text_hash") for side in ("held_out", "train"))
    both = held.join(train, on="text_hash", how="semi").select(pl.len()).collect().item()
    count = held.select(pl.len()).collect().item()
    return found(what, both == 0, f"{both:,} of {count:,} held-out documents")


def _rows(chat: Sequence[Shards]) -> Iterator[tuple[list[int], list[bool]]]:
    for shards in chat:
        step = max(1, shards.documents // _ROWS)
        for number in range(0, shards.documents, step):
            yield shards.tokens(number).tolist(), shards.learned(number).tolist()
