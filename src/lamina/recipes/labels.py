"""``lamina data labels``: documents to label next, into a file to fill in, and how good the classifier is by now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from lamina.data.clean.labels import read_labels, unlabelled
from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError
from lamina.recipes.corpus_tools import corpus_folder
from lamina.recipes.label_texts import resolved
from lamina.recipes.stack import Stack


def labels(stack: Stack, file: Path, *, count: int, as_json: bool = False) -> Any:
    """Add ``count`` documents to ``file``, to be labelled; how good the classifier from the labels so far is.

    Nothing is added while earlier ones wait for their label.
    """
    from lamina.data.labelling import propose

    if count < 1:
        raise ConfigError(f"{count} documents cannot be chosen", where="--count")
    corpus = corpus_folder(stack)
    known = resolved(read_labels(file), corpus, str(file)) if file.exists() else []
    waiting = unlabelled(file) if file.exists() else 0
    rows, model = propose(corpus, known, count)
    added = [] if waiting else rows
    if added:
        before = file.read_bytes() if file.exists() else b""
        gap = b"" if not before or before.endswith(b"\n") else b"\n"
        atomic_write(file, before + gap + b"".join(orjson.dumps(row) + b"\n" for row in added), mode=0o644)
    keep = sum(label.keep for label in known)
    found = {
        "file": str(file),
        "labels": len(known),
        "keep": keep,
        "waiting": waiting,
        "added": len(added),
        "report": dict(model.report) if model else None,
    }
    return found if as_json else describe(found)


def describe(found: Mapping[str, Any]) -> str:
    """In words, for a terminal."""
    lines = [f"{found['labels']} labels: {found['keep']} to keep, {found['labels'] - found['keep']} to drop"]
    report = found["report"]
    if report:
        low, high = report["auc_interval"]
        lines += [
            f"on labels it has not seen ({report['folds']} folds): AUC {report['auc']:.3f} ({low:.3f} to {high:.3f}),"
            f" Brier score {report['brier']:.3f}",
            *(
                f"  says {p['probability']:>4.0%} of {p['labels']:>3} documents, of which {p['kept']:>4.0%} are kept"
                for p in report["calibration"]
            ),
        ]
    if found["waiting"]:
        lines.append(f"{found['waiting']} documents in {found['file']} wait for their label: true or false for null")
    elif found["added"]:
        lines.append(f"{found['added']} documents added to {found['file']}: write true or false for each null")
    else:
        lines.append("there is no other document to label")
    return "\n".join(lines)
