"""The dataset card (Hugging Face's README.md with a YAML head), so that ``datasets`` can load the folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamina.data import card_croissant

_DESCRIPTIONS = {
    "id": "blake3 of source and canonical key; stable when the text changes",
    "text": "the cleaned text",
    "text_hash": "blake3 of the text",
    "source": "name of the source in the stack file",
    "url": "where it was read",
    "group_id": "book, site or thread",
    "parent_id": "the original of an augmented row",
    "split": "train or held-out; near duplicates fall on one side",
    "meta": "JSON",
}


def dataset_card(report: Mapping[str, Any], columns: Mapping[str, str], data: Path) -> str:
    """Markdown for a corpus whose Parquet files lie in ``data``; ``columns``: name to type."""
    head = ["---"]
    # Hugging Face's licence ids are SPDX in lower case. JSON strings are YAML strings.
    licenses = [json.dumps(name.lower()) for name in report["licenses"] if name != "unknown"]
    head += ["license:", *(f"- {name}" for name in licenses)] if licenses else []
    languages = [json.dumps(name) for name in report["languages"] if name != "unknown"]
    head += ["language:", *(f"- {name}" for name in languages[:20])] if languages else []
    head += ["configs:", "- config_name: default", "  data_files:"]
    for split in ("train", "held_out"):
        if any(data.glob(f"{split}-*.parquet")):
            head += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    head += ["---", ""]
    body = [
        "# Corpus",
        "",
        f"{report['documents']:,} documents, {report['characters']:,} characters; "
        f"{report['train']:,} to train on, {report['held_out']:,} held out.",
        "",
        "| source | read from | licence | documents | characters |",
        "|---|---|---|--:|--:|",
    ]
    for name, facts in report["sources"].items():
        cells = [name, facts["origin"] or facts["use"], facts["license"] or "unknown"]
        row = " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
        body.append(f"| {row} | {facts['documents']:,} | {facts['characters']:,} |")
    body += ["", "Each document keeps its own licence (column `license`).", ""]
    body += ["## Columns", "", "| column | type | |", "|---|---|---|"]
    body += [f"| `{name}` | {kind} | {_DESCRIPTIONS.get(name, '')} |" for name, kind in columns.items()]
    if report["dropped"]:
        body += ["", "## Left out", "", "| reason | documents |", "|---|--:|"]
        body += [f"| {reason.replace('|', ' ')} | {count:,} |" for reason, count in report["dropped"].items()]
    body += ["", "`ledger.parquet` has one row for each decision on a document.", ""]
    return "\n".join(head + body)


def write_croissant(corpus: Path, report: Mapping[str, Any]) -> None:
    """Write the card for machines, ``croissant.json``, beside ``corpus``/data."""
    card_croissant.write_croissant(corpus, report, _DESCRIPTIONS)
