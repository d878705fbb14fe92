"""Judged answers to training rows in TRL's schemas: SFT, KTO and DPO, each tied to the click that it came from.

Pure: the same judgements give the same tables. The latest opinion of a person on an answer counts; only reasons that
say the answer is bad (wrong, unsafe, format), never that it is unwelcome, may teach against it (sycophancy: Sharma
2023, arXiv:2310.13548); no one person may hold more than a share of the rows (poisoning: OWASP LLM 2026).
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.chat import DPO, KTO, SFT, Message
from lamina.contracts.feedback import Feedback, Interaction
from lamina.interface.grounding.context import without_opening
from lamina.interface.store import subject_of
from lamina.kit.durable import atomic_write, is_published, publish
from lamina.kit.identity import blake3_hex

#: Reasons of a thumb down that may teach the opposite of an answer.
TEACHING_REASONS = frozenset({"wrong", "unsafe", "format"})
_FLOOR = 5  # rows that anybody may have, whatever the share says
_CONTROL = re.compile(r"<\|[^|<>\s]{1,40}\|>|\[/?INST\]|</?s>")
_WORDS = re.compile(r"\w+")

Judged = Iterable[tuple[Interaction, tuple[Feedback, ...]]]
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Curated:
    """The tables (``contracts.chat`` schemas), and what was left out, counted by reason."""

    sft: pa.Table
    kto: pa.Table
    dpo: pa.Table
    left_out: Mapping[str, int] = field(default_factory=dict)


def curate(judged: Judged, *, share_cap: float = 0.2) -> Curated:
    """Turn ``judged`` (as ``InteractionStore.judged`` yields it) into rows.

    ``share_cap``: the share of a table's rows, on each side of the split, that one person (or conversation) may hold;
    with fewer people than would fill it, everybody's share is equal.
    """
    out: Counter[str] = Counter()
    rows: dict[str, list[Row]] = {"sft": [], "kto": [], "dpo": []}
    for interaction, feedback in judged:
        if _is_raw(interaction):
            out["raw completion"] += 1
            continue
        for judgement in latest_opinion(feedback):
            for table, row in _rows(interaction, judgement, out):
                rows[table].append(row)
    tables = {}
    for name, schema in (("sft", SFT), ("kto", KTO), ("dpo", DPO)):
        kept = _cap(_latest_per_question(rows[name], out), share_cap, out)
        tables[name] = pa.Table.from_pylist(kept, schema=schema)
    return Curated(**tables, left_out=dict(sorted(out.items())))


def snapshot_facts(curated: Curated) -> dict[str, Any]:
    """Counts for the record: rows and people on each side of the split, what was left out, control tokens seen."""
    facts: dict[str, Any] = {"left_out": dict(curated.left_out)}
    everybody: set[str] = set()
    for name in ("sft", "kto", "dpo"):
        table = getattr(curated, name)
        rows = table.select(["split", "user"]).to_pylist()
        for split, key in (("train", "train"), ("held-out", "held_out")):
            people = [r["user"] for r in rows if r["split"] == split]
            facts[f"{name}_{key}"] = len(people)
            facts[f"{name}_{key}_people"] = len(set(people))
            everybody.update(people)
    facts["people"] = len(everybody)
    # They stay in the text: the tokenizer encodes them as the plain characters they are.
    facts["rows_with_control_tokens"] = sum(
        any(_CONTROL.search(m["content"]) for m in [*row["prompt"], *row["completion"]])
        for row in curated.sft.select(["prompt", "completion"]).to_pylist()
    )
    return facts


def write_snapshot(judged: Judged, shelf: Path, *, share_cap: float = 0.2) -> Path:
    """Curate ``judged`` into a published folder of ``shelf``, named by its content; the folder.

    It holds ``sft.parquet``, ``kto.parquet``, ``dpo.parquet`` and ``facts.json``. What stands already is not written
    again: the same feedback is the same snapshot.
    """
    curated = curate(judged, share_cap=share_cap)
    tables = {"sft": curated.sft, "kto": curated.kto, "dpo": curated.dpo}
    facts = snapshot_facts(curated)
    content = [json.dumps([name, t.to_pylist()], default=str, sort_keys=True) for name, t in tables.items()]
    folder = shelf / blake3_hex(*content, json.dumps(facts, sort_keys=True))[:32]
    if not is_published(folder):
        with publish(folder) as staging:
            for name, table in tables.items():
                pq.write_table(table, staging / f"{name}.parquet")
            atomic_write(staging / "facts.json", json.dumps(facts, indent=1, sort_keys=True).encode())
    return folder


def latest_opinion(feedback: Sequence[Feedback]) -> list[Feedback]:
    """The judgements that count: of each person the latest, with what says the same beside it.

    A correction and a thumb down agree; a correction and a thumb up do not, and the later one wins.
    """
    by_user: dict[str, list[Feedback]] = defaultdict(list)
    for judgement in sorted(feedback, key=lambda f: (f.created, f.id)):
        if judgement.kind in ("boolean", "correction") and judgement.value != "null":
            by_user[judgement.user].append(judgement)
    kept: list[Feedback] = []
    for mine in by_user.values():
        last = {judgement.kind: judgement for judgement in mine}
        thumb, correction = last.get("boolean"), last.get("correction")
        if thumb and correction and thumb.value == "true":
            kept.append(mine[-1])
        else:
            kept.extend(j for j in (thumb, correction) if j is not None)
    return kept


def substantive(answer: str, correction: str) -> bool:
    """Whether a correction changes words or numbers, not only case, spacing or punctuation."""
    after = _WORDS.findall(correction.casefold())
    return bool(after) and after != _WORDS.findall(answer.casefold())


def _is_raw(interaction: Interaction) -> bool:
    """Whether the prompt was another one than its messages show: no template, or tools beside them."""
    parameters = json.loads(interaction.parameters or "{}")
    return parameters.get("route") == "completions" or bool(parameters.get("tools"))


def _rows(interaction: Interaction, judgement: Feedback, out: Counter[str]) -> Iterable[tuple[str, Row]]:
    prompt = [_plain(without_opening(m)) for m in interaction.messages]
    answer = without_opening(Message("assistant", interaction.answer)).content
    row: Row = {
        "prompt": prompt,
        "feedback_id": judgement.id,
        "interaction_id": interaction.id,
        "user": subject_of(interaction.user, interaction.conversation),
        "split": interaction.split,
        "created": judgement.created,
    }
    value = json.loads(judgement.value)
    if judgement.kind == "correction":
        if not substantive(answer, value):
            out["correction changes nothing"] += 1
            return
        yield "sft", row | {"completion": _turn(value)}
        if answer:
            yield "dpo", row | {"chosen": _turn(value), "rejected": _turn(answer)}
    elif not answer:
        out["no words of the model"] += 1
    elif value is True:
        if interaction.finish_reason != "stop":
            out["thumb up on an answer that was cut"] += 1  # it would teach to end in the middle
            return
        yield "sft", row | {"completion": _turn(answer)}
        yield "kto", row | {"completion": _turn(answer), "label": True}
    elif TEACHING_REASONS & set(judgement.reasons):
        yield "kto", row | {"completion": _turn(answer), "label": False}
    else:
        out["thumb down without a reason that teaches"] += 1


def _plain(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _latest_per_question(rows: Sequence[Row], out: Counter[str]) -> list[Row]:
    """Of each person's rows with the same prompt the latest, in the order of time."""
    latest: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda r: (r["created"], r["feedback_id"])):
        key = (row["user"], json.dumps(row["prompt"], sort_keys=True))
        out["asked and judged again later"] += latest.pop(key, None) is not None
        latest[key] = row
    out += Counter()  # no zeros
    return list(latest.values())


def _cap(rows: Sequence[Row], share: float, out: Counter[str]) -> list[Row]:
    """The latest rows of each person, up to the share, on each side of the split."""
    kept: list[Row] = []
    for split in ("train", "held-out"):
        side = [r for r in rows if r["split"] == split]
        counts = Counter(r["user"] for r in side)
        cap = _cap_of(list(counts.values()), share)
        taken: Counter[str] = Counter()
        for row in reversed(side):
            taken[row["user"]] += 1
            if taken[row["user"]] <= cap:
                kept.append(row)
            else:
                out["over the share of one person"] += 1
    return sorted(kept, key=lambda r: (r["created"], r["feedback_id"]))


def _cap_of(counts: Sequence[int], share: float) -> int:
    """The most rows a person may have so that nobody's part of what is then left exceeds ``share``."""
    if not counts:
        return 0
    share = max(share, 1 / len(counts))
    cap = max(counts)
    while cap > _FLOOR and cap > share * sum(min(count, cap) for count in counts):
        cap -= 1
    return cap
