"""Stages of the data layer; each runs in a child process of its own (see ``kit.stages``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.corpus import SourceFile
from lamina.kit.durable import atomic_write
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.recipes.augmentation import opened
from lamina.recipes.history import check_unchanged, history_of
from lamina.recipes.scoring import scoring
from lamina.recipes.step_files import placed
from lamina.recipes.translating import translating


@imports(
    "lamina.data.pipeline",
    "lamina.kit.numba_ready",
    "lamina.data.clean.analysis_kernels.walk",
    "lamina.data.duplicates.kernels",
    "lamina.data.variety.kernels",
)
def build(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """Collect and clean: writes the corpus folder."""
    from lamina.data.pipeline import SourceInput, build_corpus

    sources = [
        SourceInput(
            name=s["name"],
            use=s["use"],
            parameters=s["parameters"],
            files=tuple(SourceFile(name=n, path=Path(p)) for n, p in s["files"]),
            origin=s["origin"],
            license=s["license"],
            language=s["language"],
        )
        for s in parameters["context"]["sources"]
    ]
    before = history_of(parameters["context"])
    own = parameters["context"]["augmentation"].get("translators", ())
    with scoring(inputs.get("scorer")), translating(own):
        build_corpus(
            staging,
            work,
            sources=sources,
            steps=placed(parameters),
            held_out=parameters["held_out"],
            progress=progress,
            executor=parameters["context"]["executor"],
            workers=parameters["context"]["workers"],
            augmentation=opened(parameters, parameters["context"]["augmentation"]),
            history=before,
        )
    check_unchanged(before)


@imports("lamina.data.tokenizer.train", "lamina.data.tokenizer.bpe", "lamina.kit.numba_ready")
def train_tokenizer(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """A tokenizer trained on the corpus."""
    from lamina.data.tokenizer.train import train_tokenizer

    settings = {name: value for name, value in parameters.items() if name != "context"}
    train_tokenizer(inputs["corpus"], staging, **settings, progress=progress)


@imports("lamina.data.forget_shards", "lamina.data.replay", "lamina.data.shards")
def tokenize(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The training split as shards in ``documents/``, and chat rows made from it in ``replay/``."""
    from lamina.data.forget_shards import lessened
    from lamina.data.replay import write_replay
    from lamina.data.shards import write_shards
    from lamina.kit.tokenizer import open_tokenizer

    tokenizer = open_tokenizer(inputs["tokenizer"])
    options: Any = {"workers": parameters["context"].get("workers"), "work": work, "progress": progress}
    place, old = staging / "documents", parameters["context"]["reuse"]
    documents = lessened(Path(old) / "documents", inputs["corpus"], place, tokenizer) if old else None
    documents = documents or write_shards(inputs["corpus"], place, tokenizer, **options)
    facts = {"documents": documents.documents, "tokens": documents.total_tokens}
    if parameters["replay"]:
        replay = write_replay(
            inputs["corpus"], staging / "replay", tokenizer, seed=parameters["seed"], progress=progress
        )
        facts |= {"chat_rows": replay.documents, "chat_tokens": replay.total_tokens}
    if parameters.get("sentences"):
        from lamina.data.objectives.sentences import write_sentences

        sentences = write_sentences(inputs["corpus"], staging / "sentences", tokenizer, progress=progress)
        facts |= {"sentences": sentences.documents}
    atomic_write(staging / "summary.json", json.dumps(facts).encode())


@imports("lamina.interface.grounding.passages")
def index(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """The passage index over the whole corpus: answers may quote what the weights never saw."""
    from lamina.interface.grounding.passages import build_index

    build_index(record_batches(inputs["corpus"]), staging, progress=progress)


def record_batches(corpus: Path, split: str | None = None) -> Iterator[pa.RecordBatch]:
    """The documents of a corpus folder, a row group at a time."""
    pattern = {"train": "train-*.parquet", "held-out": "held_out-*.parquet", None: "*.parquet"}[split]
    for file in sorted((corpus / "data").glob(pattern)):
        yield from pq.ParquetFile(file).iter_batches()
