"""Labels that have only ids, with the texts that a corpus has of them: the classifier learns from texts."""

from __future__ import annotations

from pathlib import Path

from lamina.data.clean.labels import Label, read_labels, with_texts, written
from lamina.kit.durable import atomic_write, is_published
from lamina.kit.errors import NotFoundError
from lamina.recipes.stack import Stack


def prepared(stack: Stack, file: Path, sha256: str) -> Path:
    """``file``, or a copy in the state folder in which each label has its text; made once for each state of it."""
    found = read_labels(file)
    if all(label.text is not None for label in found):
        return file
    place = stack.state / "labels" / f"{sha256}.jsonl"
    if not place.exists():
        corpora = [f for f in (stack.state / "corpora").glob("*") if is_published(f)]
        if not corpora:
            hint = "build the corpus without this step first, or give the labels their texts"
            raise NotFoundError("labels with ids alone need a corpus to look them up in", where=str(file), hint=hint)
        latest = max(corpora, key=lambda folder: folder.stat().st_mtime)
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(place, written(resolved(found, latest, str(file))))
    return place


def resolved(found: list[Label], corpus: Path, where: str) -> list[Label]:
    """The labels with the texts that the corpus has of them."""
    from lamina.data.what_if_border import texts_of

    lacking = [label.id for label in found if label.text is None and label.id]
    return with_texts(found, texts_of(corpus, lacking, characters=None) if lacking else {}, where)
