"""What became of the sources: figures as JSON, words for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from lamina.data.augment.telling import in_words
from lamina.data.ledger import by_action, dropped
from lamina.data.report_duplicates import REASONS, search_in_words
from lamina.data.report_flow import rights_in_words, rights_of

if TYPE_CHECKING:
    import polars as pl

    from lamina.data.collection import SourceInput

_WIPED = 0.5  # a source that loses more than this share to one reason is worth a word
_MANY = 20  # ... if it has this many documents

#: What a file's name could do to a terminal.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f]")
_ALIKE = 3  # files of one reason that the report names
_LISTED = 20  # files that the report names; the rest stand in unread.jsonl


class CorpusReport(TypedDict):
    """``report.json``. Characters are those of the cleaned texts; files count pages and messages too."""

    documents: int
    train: int
    held_out: int
    characters: int
    collected: int
    files_read: int
    files_unread: int
    faults: int  # lines, pages, records within files that were read
    unread: list[list[str]]  # name and reason of the first files that were not read
    sources: dict[str, dict[str, Any]]
    dropped: dict[str, int]
    licenses: dict[str, int]
    languages: dict[str, int]
    steps: dict[str, dict[str, int]]
    warnings: list[str]
    augmentation: NotRequired[dict[str, Any]]  # of the children, which the counts above leave out
    passes: NotRequired[dict[str, dict[str, Any]]]  # what each pass measured, by its label
    forgotten: NotRequired[int]  # documents that tombstones kept out


def make_report(
    sources: Sequence[SourceInput],
    readings: Sequence[Mapping[str, Any]],
    documents: pl.DataFrame,
    ledger: pl.DataFrame,
    said: Sequence[str] = (),
) -> CorpusReport:
    """Counts by source. ``documents``: source, split, license, language, characters of what is kept; ``said`` warns."""
    import polars as pl

    lost = dropped(ledger)
    kept = {
        row["source"]: row
        for row in documents.group_by("source")
        .agg(
            pl.len().alias("documents"),
            (pl.col("split") == "train").sum().alias("train"),
            (pl.col("split") != "train").sum().alias("held_out"),
            pl.col("characters").sum(),
            pl.col("license").drop_nulls().unique().sort().alias("licenses"),
        )
        .iter_rows(named=True)
    }
    table: dict[str, dict[str, Any]] = {}
    for source, reading in zip(sources, readings, strict=True):
        facts = kept.get(source.name, {})
        table[source.name] = {
            "use": source.use,
            "origin": source.origin,
            "license": ", ".join(facts.get("licenses", ())) or source.license,
            "files_read": len(reading["read"]),
            "files_unread": len(_whole(source, reading)),
            "collected": reading["documents"],
            "documents": facts.get("documents", 0),
            "train": facts.get("train", 0),
            "held_out": facts.get("held_out", 0),
            "characters": facts.get("characters", 0),
            "dropped": dict(lost.get(source.name, {})),
        }
    reasons: dict[str, int] = {}
    for counts in lost.values():
        for reason, count in counts.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return CorpusReport(
        documents=documents.height,
        train=int((documents["split"] == "train").sum()),
        held_out=int((documents["split"] != "train").sum()),
        characters=int(documents["characters"].sum()),
        collected=sum(t["collected"] for t in table.values()),
        files_read=sum(t["files_read"] for t in table.values()),
        files_unread=sum(t["files_unread"] for t in table.values()),
        faults=sum(len(r["unread"]) for r in readings) - sum(t["files_unread"] for t in table.values()),
        unread=_some([pair for s, r in zip(sources, readings, strict=True) for pair in _whole(s, r)]),
        sources=table,
        dropped=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        licenses=_counts(documents, "license"),
        languages=_counts(documents, "language"),
        steps=by_action(ledger),
        warnings=[*_warnings(table), *said],
    )


def _counts(documents: pl.DataFrame, column: str) -> dict[str, int]:
    table = documents[column].fill_null("unknown").value_counts().sort(["count", column], descending=[True, False])
    return dict(table.iter_rows())


def _warnings(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    for name, facts in table.items():
        if not facts["collected"]:
            found.append(f"source '{name}' gave no document")
        if facts["documents"] and not facts["license"]:
            found.append(f"source '{name}' has no licence recorded")
        for reason, count in facts["dropped"].items():
            if reason in REASONS:  # the pass has an alarm, with a share that is set
                continue
            if facts["collected"] >= _MANY and count > _WIPED * facts["collected"]:
                share = f"{count / facts['collected']:.0%} of its documents"
                found.append(f"source '{name}' lost {share} ({count:,} of {facts['collected']:,}): {reason}")
    return found


def _whole(source: SourceInput, reading: Mapping[str, Any]) -> list[list[str]]:
    """Files and pages that were not read at all, with the reason; not the lines within a file that was."""
    names = {file.name for file in source.files}
    for key in ("urls", "sitemap", "feed"):  # the source "web" reads what these name
        named = source.parameters.get(key) or ()
        names |= {named} if isinstance(named, str) else set() if isinstance(named, bool) else set(map(str, named))
    return [[name, reason] for name, reason in reading["unread"].items() if name in names]


def _some(pairs: Sequence[list[str]]) -> list[list[str]]:
    """Of each reason the first files, in their order: a thousand of one sort hide no other."""
    times: Counter[str] = Counter()
    shown: list[list[str]] = []
    for name, reason in pairs:
        times[reason] += 1
        if times[reason] <= _ALIKE and len(shown) < _LISTED:
            shown.append([name, reason])
    return shown


def describe(report: Mapping[str, Any], corpus: Path) -> str:
    """The report in words; the last line is how many files were read."""
    lines = []
    width = max((len(name) for name in report["sources"]), default=0)
    for name, facts in report["sources"].items():
        gone = ", ".join(f"{count:,} {reason}" for reason, count in list(facts["dropped"].items())[:4])
        lines.append(
            f"{name:<{width}}  {facts['documents']:>8,} documents  {facts['characters']:>12,} characters"
            f"  {facts['license'] or 'licence unknown'}" + (f"  (dropped: {gone})" if gone else "")
        )
    lines.append(
        f"corpus: {report['documents']:,} of {report['collected']:,} documents kept"
        f" ({report['train']:,} to train, {report['held_out']:,} held out), {report['characters']:,} characters"
    )
    lines += in_words(report["augmentation"]) if report.get("augmentation") else []
    lines += search_in_words(report)
    lines += rights_in_words(rights_of(corpus), report["documents"])
    lines += [f"note: {warning}" for warning in report["warnings"]]
    total = report["files_read"] + report["files_unread"]
    lines += [_UNPRINTABLE.sub("\ufffd", f"not read: {name}: {reason}") for name, reason in report["unread"]]
    more = report["files_unread"] - len(report["unread"])
    if more or report["faults"]:
        what = " and ".join(
            words
            for words in (f"{more:,} more files" if more else "", f"{report['faults']:,} places within files")
            if words and not words.startswith("0 ")
        )
        lines.append(f"also not read: {what}; see {corpus / 'unread.jsonl'}")
    lines.append(f"{report['files_read']:,} of {total:,} files read")
    return "\n".join(lines)


def loss(report: CorpusReport, unread: Sequence[Mapping[str, str]]) -> str:
    """Why nothing is left, in one line."""
    if report["collected"]:
        parts = ", ".join(f"{count:,} by '{reason}'" for reason, count in report["dropped"].items())
        return f"none of {report['collected']:,} documents is left: {parts}"
    if unread:
        first = "; ".join(f"{u['name']}: {u['reason']}" for u in unread[:3])
        return f"no document could be read ({len(unread):,} files were not): {first}"
    return "the sources hold no document"
