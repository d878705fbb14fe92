"""``lamina data variety``: how varied the stack's corpus is, and what a reference has that it lacks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamina.contracts.corpus import SourceFile
from lamina.kit.errors import ConfigError, InputError, NotFoundError
from lamina.kit.progress import Progress, open_progress
from lamina.kit.stages import Workshop
from lamina.recipes import collect
from lamina.recipes.contamination import questions_in
from lamina.recipes.corpus_tools import corpus_folder, tokens_folder
from lamina.recipes.corpus_tools import report as write_report
from lamina.recipes.current import recall
from lamina.recipes.stack import DataSection, Stack, open_stack

_PREFIX = 6  # characters of a corpus' hash that name it
#: What is done to a reference that is no corpus yet: as little as makes it comparable.
_STEPS: list[dict[str, Any]] = [{"transform": "normalize"}, {"signal": "language"}]


def variety(
    stack: Stack,
    *,
    reference: str | None = None,
    vectors: Path | None = None,
    radius: float | None = None,
    as_json: bool = False,
) -> Any:
    """The variety of the stack's corpus in words or as JSON.

    ``reference``: a corpus (its folder, the beginning of its hash, or a stack file) or documents in any form that the
    source ``files`` reads, at any location. ``vectors``: .npy (a row for each document) or word vectors, instead of
    hashed words.
    """
    from lamina.data.variety.describe import in_words, mixture_in_words

    if radius is not None and not 0 < radius <= 2:
        raise ConfigError(f"a cosine distance of {radius:g} cannot be", where="--radius", hint="above 0, up to 2")
    progress = open_progress("quiet" if as_json else "auto")
    found = measured(stack)
    comparison = None
    if reference is not None or vectors is not None:
        found, comparison = _anew(stack, found, reference, vectors, radius, progress)
    mixture = mixture_of(stack)
    if as_json:
        return found | {"reference": comparison, "mixture": mixture}
    return "\n".join([in_words(found, comparison), *(mixture_in_words(mixture) if mixture else [])])


def report(stack: Stack, out: Path | None = None) -> str:
    """Write the corpus as one page with pictures; where it lies, and the report in words."""
    corpus = corpus_folder(stack)
    facts = {
        "variety": measured(stack) if (corpus / "variety.json").is_file() else None,
        "mixture": mixture_of(stack),
        "contamination": questions_in(stack, corpus, Workshop(stack.state, open_progress("quiet"))),
    }
    return write_report(stack, out, facts)


def measured(stack: Stack) -> dict[str, Any]:
    """What was measured when the corpus was built, with training tokens where they were counted since."""
    from lamina.data.variety.measure import read_variety

    corpus = corpus_folder(stack)
    found = read_variety(corpus)
    if found is None:
        raise InputError("the variety of this corpus was not measured", where=str(corpus), hint="lamina data build")
    tokens = _tokens(stack)
    if tokens is None:
        return found
    from lamina.data.mixture_groups import add_tokens
    from lamina.data.shards import Shards

    return add_tokens(found, Shards(tokens), corpus)


def mixture_of(stack: Stack) -> dict[str, Any] | None:
    """The mixture as the last run was trained on it, or as it would be of the tokens that there are; else None."""
    rule = None if stack.data is None else stack.data.mixture
    tokens = _tokens(stack)
    if rule is None or tokens is None:
        return None
    run = _last_run(stack)
    if run is not None and run.get("mixture"):
        return dict(run["mixture"])
    import numpy as np

    from lamina.data.mixture import plan_mixture
    from lamina.data.mixture_groups import groups_of
    from lamina.data.shards import Shards

    shards = Shards(tokens)
    groups = groups_of(shards, corpus_folder(stack), rule.by)
    lengths = np.diff(shards.ends, prepend=0) - 1  # the first token of a document is never learned
    sizes = [int(lengths[group.documents].sum()) for group in groups]
    return plan_mixture(groups, sizes, sizes, rule).facts()


def _tokens(stack: Stack) -> Path | None:
    trained = stack.model is not None and stack.model.train is not None
    return tokens_folder(stack) if trained else None


def _last_run(stack: Stack) -> dict[str, Any] | None:
    try:
        run = recall(stack).run
    except NotFoundError:
        return None
    file = stack.state / "runs" / (run or "none") / "run.json"
    return dict(json.loads(file.read_bytes())) if file.is_file() else None


def _anew(
    stack: Stack,
    found: dict[str, Any],
    reference: str | None,
    vectors: Path | None,
    radius: float | None,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Measure the corpus under another embedding, or against a reference."""
    from lamina.data.parts import rows_of
    from lamina.data.variety.compare import compare
    from lamina.data.variety.embedding import DocumentVectors, open_vectors
    from lamina.data.variety.measure import data_files, measure

    files = data_files(corpus_folder(stack))
    embedding = None if vectors is None else open_vectors(vectors, rows_of(files))
    if isinstance(embedding, DocumentVectors) and reference is not None:
        hint = "word vectors serve both, or leave --vectors out"
        raise ConfigError("are of the corpus' documents alone, not of the reference's", where=str(vectors), hint=hint)
    mine = measure(files, embedding=embedding, whole=embedding is not None, seed=found["seed"], progress=progress)
    if embedding is not None:
        found = found | {key: mine.variety[key] for key in ("embedding", "vendi", "topics")}
        found["shares"] = found["shares"] | {"topic": mine.variety["shares"]["topic"]}
    if reference is None:
        return found, None
    with _documents(stack, reference, progress) as others:
        return found, compare(mine, others, radius=radius, progress=progress)


@contextmanager
def _documents(stack: Stack, reference: str, progress: Progress) -> Iterator[list[Path]]:
    """The Parquet files of a reference, made for the while where it is no corpus."""
    from lamina.data.pipeline import SourceInput, build_corpus
    from lamina.data.variety.measure import data_files

    corpus = _corpus(stack, reference)
    if corpus is not None:
        yield data_files(corpus)
        return
    place = Path(reference).expanduser()
    table = {"use": "files", "name": "reference", "from": str(place.absolute()) if place.exists() else reference}
    [found] = collect.collect(replace(stack, data=DataSection(sources=(table,))), progress)
    files = tuple(SourceFile(name=name, path=path) for name, path in found.files)
    source = SourceInput(name="reference", use="files", files=files, origin=found.origin)
    stack.state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reference-", dir=stack.state) as name:
        staging = Path(name) / "corpus"
        staging.mkdir()
        build_corpus(staging, Path(name) / "work", sources=[source], steps=_STEPS, held_out=0.0, progress=progress)
        yield data_files(staging)


def _corpus(stack: Stack, reference: str) -> Path | None:
    """The corpus that ``reference`` names, if it names one."""
    place = Path(reference).expanduser()
    if place.is_dir() and any((place / "data").glob("*.parquet")):
        return place
    if place.suffix == ".toml" and place.is_file():
        return corpus_folder(open_stack(place))
    if len(reference) >= _PREFIX and reference.isalnum() and not place.exists():
        found = sorted((stack.state / "corpora").glob(f"{reference}*"))
        if len(found) == 1:
            return found[0]
    return None
