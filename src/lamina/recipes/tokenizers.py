"""``lamina data tokenizers`` and ``lamina data export``: which tokenizer, and tokens for other trainers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.errors import ConfigError, InputError, ModelFileError
from lamina.kit.progress import Progress, open_progress
from lamina.kit.stages import Workshop
from lamina.kit.tokenizer import open_tokenizer
from lamina.recipes.architectures import AUTO
from lamina.recipes.corpus_tools import corpus_folder
from lamina.recipes.plan import Plan
from lamina.recipes.stack import Stack, TokenizerSection
from lamina.recipes.tokenizer_stage import tokenizer_stage

if TYPE_CHECKING:
    from lamina.data.tokenizer.compare import Figures

_CHARACTERS = 20_000_000  # of the documents that are measured
_WHOLE = 1 << 62  # of one document
_WIDTH = 768  # of an embedding, where the stack does not say
KINDS = ("bpe", "unigram", "wordpiece")


def compare(
    stack: Stack,
    *,
    uses: Sequence[str] = (),
    vocabularies: Sequence[int] = (),
    places: Sequence[str] = (),
    held_out: bool = True,
    as_json: bool = False,
) -> Any:
    """Train a tokenizer of each kind and size on the corpus, measure them and those at ``places``, name the best.

    Measured on held-out documents (or on training documents), of each source its share of 20 million characters. A
    place is a folder with a tokenizer.json, such a file, a model's location, or "base": the stack's base model.
    """
    from lamina.data.tokenizer.compare import measure, verdict
    from lamina.data.tokenizer.sample import draw

    progress = open_progress("json" if as_json else "auto")
    plan = Plan(stack, Workshop(stack.state, progress), progress)
    corpus = corpus_folder(stack)
    pattern = "held_out-*.parquet" if held_out else "train-*.parquet"
    sample = draw(sorted((corpus / "data").glob(pattern)), characters=_CHARACTERS, document=_WHOLE)
    if not sample.total:
        what = "no held-out documents" if held_out else "no documents"
        raise InputError(f"the corpus has {what}", where=stack.file.name, hint="data.held_out, or --trained")
    found: list[Figures] = []
    with ExitStack() as kept:
        candidates = [
            *_trained(plan, uses or KINDS, vocabularies),
            *((place, _folder(plan, place, kept, progress), None) for place in places),
        ]
        for name, folder, asked in candidates:
            with progress.task(f"measure {name}", total=sample.total, unit="characters") as task:
                tokenizer = open_tokenizer(folder)
                found.append(measure(name, tokenizer, sample.by_source(), asked=asked, after=task.advance))
    width = _width(stack)
    if as_json:
        return {
            "measured": {"held_out": held_out, "characters": sample.total, "width": width},
            "tokenizers": [figures.as_json(width) for figures in found],
            "verdict": verdict(found, width),
        }
    return "\n".join([_table(found, width), *verdict(found, width)])


def export(stack: Stack, folder: Path, *, format: str, as_json: bool = False) -> Any:
    """Write the tokens of the corpus, training and held-out documents, in another trainer's ``format``."""
    from lamina.data.export.formats import FORMATS
    from lamina.data.export.formats import export as write
    from lamina.data.shards import Shards, write_shards

    if format not in FORMATS:
        raise ConfigError(f"there is no format '{format}'", where="--format", hint=", ".join(FORMATS))
    progress = open_progress("json" if as_json else "auto")
    plan = Plan(stack, Workshop(stack.state, progress), progress)
    corpus = corpus_folder(stack)
    stage = plan.tokenized_by
    tokenizer = open_tokenizer(plan.workshop.run(stage))
    workers = None if stack.data is None else stack.data.workers
    with tempfile.TemporaryDirectory(dir=stack.state) as place:
        if plan.trains:
            splits = {"train": Shards(plan.workshop.run(plan.tokens) / "documents")}
        else:
            splits = {
                "train": write_shards(corpus, Path(place) / "train", tokenizer, workers=workers, progress=progress)
            }
        held = write_shards(
            corpus, Path(place) / "held", tokenizer, split="held-out", workers=workers, progress=progress
        )
        splits |= {"held-out": held} if held.documents else {}
        files = write(splits, folder, format, tokenizer=f"{stack.name}-{stage.name}", progress=progress)
    facts = {name: {"documents": s.documents, "tokens": s.total_tokens} for name, s in splits.items()}
    if as_json:
        return {"format": format, "files": [str(file) for file in files], "splits": facts}
    lines = [f"{file}  {file.stat().st_size:,} bytes" for file in files]
    return "\n".join(lines)


def listed(text: str) -> list[str]:
    """The words of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def sizes(text: str) -> list[int]:
    """The numbers of a list with commas. Raises ``ConfigError``."""
    try:
        return [int(word) for word in listed(text)]
    except ValueError:
        raise ConfigError(f"'{text}' is no list of numbers", where="--vocabulary", hint="4096,8192") from None


def _trained(plan: Plan, uses: Sequence[str], vocabularies: Sequence[int]) -> Iterator[tuple[str, Path, int | None]]:
    """Name, folder and vocabulary of each candidate; those that were trained before are there."""
    data = plan.stack.data
    section = TokenizerSection() if data is None else data.tokenizer
    for vocabulary in vocabularies or [section.vocabulary]:
        for use in uses:
            if use not in KINDS:
                raise ConfigError(f"there is no tokenizer '{use}'", where="--use", hint=", ".join(KINDS))
            wanted: Any = {
                "use": use,
                "vocabulary": vocabulary,
                "lowercase": section.lowercase if use == "wordpiece" else None,
                "sentinels": section.sentinels if use == "unigram" else 0,
            }
            stage = tokenizer_stage(replace(section, **wanted), plan.workshop.folder(plan.corpus))
            yield f"{use} {vocabulary}", plan.workshop.run(stage), vocabulary


def _folder(plan: Plan, place: str, kept: ExitStack, progress: Progress) -> Path:
    """The folder with the tokenizer.json that ``place`` means."""
    from lamina.recipes.models import import_model

    path = Path(place).expanduser()
    if place == "base":
        return plan.workshop.run(plan.base)
    if path.is_file() and path.name == "tokenizer.json":
        return path.parent
    if (path / "tokenizer.json").is_file():
        return path
    if path.is_dir() and not any(path.rglob("*.gguf")):
        raise ModelFileError("holds no tokenizer.json", where=place)
    progress.say(f"reading {place}")
    return import_model(place, Path(kept.enter_context(tempfile.TemporaryDirectory())) / "model")


def _width(stack: Stack) -> int:
    model = stack.model
    if model is None or model.preset in (None, AUTO):
        return _WIDTH
    from lamina.model.architectures.presets import preset

    return preset(model.preset, vocabulary=1).stack.embeddings.width


def _table(found: Sequence[Figures], width: int) -> str:
    sources = sorted({source for figures in found for source in figures.sources})
    head = ["tokenizer", "ids", "bytes/token", *sources, "tokens/word", "unknown", "comes back", "used", "embedding"]
    rows = [head]
    for f in found:
        by = [f"{f.sources[s].bytes_per_token:.3f}" if s in f.sources else "-" for s in sources]
        row = [f.name, f"{f.vocabulary:,}", f"{f.all.bytes_per_token:.3f}", *by, f"{f.fertility:.2f}"]
        row += [f"{f.unknown_rate:.2%}", f"{f.whole:.1%}", f"{f.used:.1%}", f"{f.vocabulary * width / 1e6:.1f} M"]
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )
    return "\n".join(lines) + "\n"
