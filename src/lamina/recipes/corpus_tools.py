"""Questions to a built corpus: why is a document there, whose token is this, what would other thresholds do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lamina.data.tombstones import Tombstones
from lamina.kit.durable import digest_folder
from lamina.kit.errors import NotFoundError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.recipes.history import last_corpus
from lamina.recipes.plan import Plan
from lamina.recipes.stack import Stack


def corpus_folder(stack: Stack) -> Path:
    """The corpus that the stack file and its sources, as they are now, ask for; all of them are hashed to know which.
    Raises ``NotFoundError`` where it was not built."""
    plan = _plan(stack)
    folder = plan.workshop.folder(plan.corpus)
    if not folder.exists():
        raise NotFoundError("the corpus is not built", where=stack.file.name, hint="lamina data build")
    return folder


def tokens_folder(stack: Stack) -> Path | None:
    """The token shards of the documents, where they were written."""
    if stack.model is None:
        return None
    plan = _plan(stack)
    try:
        folder = plan.workshop.folder(plan.tokens) / "documents"
    except NotFoundError:  # what they are made of is not there yet
        return None
    return folder if folder.exists() else None


def explain(stack: Stack, query: str, *, as_json: bool = False) -> Any:
    """The explanation of a document, in words or as JSON."""
    from lamina.data import explain as explaining
    from lamina.data.explain_words import describe

    corpus, tokens = _last(stack)
    try:
        found = explaining.explain(corpus, query, tokens=tokens)
    except NotFoundError as error:
        raise _forgotten(stack, query) or error from None
    return asdict(found) if as_json else describe(found)


def whereis(stack: Stack, offset: int, *, as_json: bool = False) -> Any:
    """The document of a token, in words or as JSON."""
    from lamina.data import explain as explaining
    from lamina.data.explain_words import describe

    corpus, tokens = _last(stack)
    if tokens is None:
        raise NotFoundError("there are no token shards", where=stack.file.name, hint="lamina train writes them")
    id, place = explaining.whereis(tokens, offset)
    found = explaining.explain(corpus, id, tokens=tokens)
    if as_json:
        return {"offset": offset, "place": place, "document": asdict(found)}
    return f"token {offset:,} is token {place:,} of\n{describe(found)}"


def what_if(stack: Stack, changes: Sequence[str], *, labels: Path | None = None, as_json: bool = False) -> Any:
    """Other thresholds on the corpus' signals, in words or as JSON.

    ``changes`` are "RULE: EXPRESSION"; ``labels`` is a file of labels to which thresholds are fitted.
    """
    from lamina.data import what_if as trying
    from lamina.data.what_if_words import describe

    corpus = corpus_folder(stack)
    found = trying.what_if(corpus, trying.changes_of(changes, corpus), tokens=tokens_folder(stack))
    found = trying.with_examples(found, corpus)
    fitted = None
    if labels is not None:
        from lamina.data.clean.labels import read_labels
        from lamina.data.what_if_fit import fit, plain
        from lamina.data.what_if_signals import open_signals

        fitted = fit(open_signals(corpus), read_labels(labels))
    if as_json:
        return asdict(found) | ({"fitted": plain(fitted)} if fitted else {})
    return describe(found, fitted)


def report(stack: Stack, out: Path | None = None, facts: Mapping[str, Any] | None = None) -> str:
    """Write the corpus as one page with pictures; where it lies, and the report in words.

    ``facts``: what was counted since the corpus was built, as ``report_page`` takes it.
    """
    from lamina.data.report import describe
    from lamina.data.report_page import report_page
    from lamina.kit.durable import atomic_write

    corpus = corpus_folder(stack)
    place = out or stack.folder / f"{stack.name}-corpus.html"
    atomic_write(place, report_page(corpus, facts).encode(), mode=0o644)
    return f"{describe(json.loads((corpus / 'report.json').read_bytes()), corpus)}\n{place}"


def _forgotten(stack: Stack, query: str) -> NotFoundError | None:
    """What is said of an id or address that was forgotten."""
    stones = Tombstones(stack.state)
    for removal in stones.removals:
        names = {kind: stones.secret().names(kind, query) for kind in ("id", "url")}
        if any(name in removal.keys[kind] for kind, name in names.items()):
            return NotFoundError(f"'{query[:80]}' was forgotten on {removal.when}: {removal.reason}", hint=removal.id)
    return None


def _last(stack: Stack) -> tuple[Path, Path | None]:
    """The corpus that was built last, and its token shards: told by what is recorded, so that an answer about one
    document does not wait until all sources are hashed. Raises ``NotFoundError`` where there is no corpus."""
    workshop = Workshop(stack.state, open_progress("quiet"))
    corpus = last_corpus(workshop)
    if corpus is None:
        raise NotFoundError("the corpus is not built", where=stack.file.name, hint="lamina data build")
    made = workshop.recorded("tokens")
    tokens = stack.state / "tokens" / made["key"] / "documents" if made else None
    mine = made is not None and made["recipe"]["inputs"].get("corpus") == digest_folder(corpus)
    return corpus, tokens if mine and tokens is not None and tokens.exists() else None


def _plan(stack: Stack) -> Plan:
    progress = open_progress("quiet")
    return Plan(stack, Workshop(stack.state, progress), progress)
