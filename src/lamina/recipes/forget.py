"""``lamina data forget``: documents, near copies and descendants out of every artefact of the stack, and kept out.

What is decided is a tombstone (``data.tombstones``); carrying it through follows from the tombstones alone and may be
killed at any point: the next ``forget``, ``data build`` or ``up`` goes on. New artefacts are published whole before the
old ones are deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamina.data.forget import Gone, Wanted, gone, select
from lamina.data.tombstones import Draft, Tombstones
from lamina.kit import process_lock
from lamina.kit.durable import is_published, make_folder, remove
from lamina.kit.errors import BusyError, InputError, LaminaError, NotFoundError
from lamina.kit.identity import new_id
from lamina.kit.progress import Progress, open_progress
from lamina.kit.stages import Workshop
from lamina.recipes.forget_artefacts import Sweep
from lamina.recipes.history import SHELF
from lamina.recipes.removals import removals_in_words
from lamina.recipes.stack import Stack

_SHOWN = 20  # documents that are listed


@dataclass(slots=True)
class Preview:
    """What a removal would take: the draft, and of each corpus what goes."""

    draft: Draft = field(default_factory=Draft)
    corpora: dict[str, Gone] = field(default_factory=dict)
    dropped: int = 0  # documents that were dropped when the corpus was made, and left traces

    def rows(self) -> list[dict[str, Any]]:
        """The documents of all corpora, each once."""
        found: dict[str, dict[str, Any]] = {}
        for what in self.corpora.values():
            for row in what.rows.iter_rows(named=True):
                found.setdefault(row["id"], row)
        return list(found.values())


def forget(
    stack: Stack,
    *,
    ids: Sequence[str] = (),
    urls: Sequence[str] = (),
    authors: Sequence[str] = (),
    sources: Sequence[str] = (),
    texts: Sequence[str] = (),
    because: str | None = None,
    dry_run: bool = False,
    confirm: Any = None,
    as_json: bool = False,
) -> Any:
    """Show what goes, and with consent (``confirm`` says yes to the words that it is shown) let it go.

    Without anything named: what was forgotten before. Raises ``NotFoundError`` where nothing fits.
    """
    wanted = Wanted(
        ids=tuple(ids),
        urls=tuple(urls),
        authors=tuple(authors),
        sources=tuple(sources),
        texts=tuple(texts),
        salts=_salts(stack),
    )
    progress = open_progress("quiet" if as_json else "auto")
    if not any((ids, urls, authors, sources, texts)):
        finish(stack, progress)
        return removals_in_words(stack, as_json=as_json)
    with _alone(stack) as tombstones:
        _finish(stack, tombstones, progress)
        preview = look(stack, wanted)
        words = describe(preview)
        if dry_run:
            return _told(preview, {}) if as_json else words
        if not because or not because.strip():
            raise InputError("a removal needs a reason", where="--because", hint='--because "asked by the author"')
        if confirm is None or not confirm(words):
            raise InputError("nothing was forgotten: it was not confirmed", hint="--yes, or --dry-run to only look")
        removal = tombstones.add(preview.draft, id=new_id("removal"), reason=because.strip())
        manifest = _finish(stack, tombstones, progress)
        if as_json:
            return _told(preview, manifest)
        return f"{words}\n\n{removals_in_words(stack, only=removal.id)}"


def finish(stack: Stack, progress: Progress) -> None:
    """Carry through what was decided and cut short; nothing happens where there is nothing."""
    if Tombstones(stack.state).pending:
        with _alone(stack) as tombstones:
            _finish(stack, tombstones, progress)


def look(stack: Stack, wanted: Wanted) -> Preview:
    """What ``wanted`` would take from every corpus of the stack. Nothing is changed."""
    preview = Preview()
    corpora = [folder for folder in sorted((stack.state / SHELF).glob("*")) if is_published(folder)]
    if not corpora:
        raise NotFoundError("there is no corpus", where=stack.file.name, hint="lamina data build")
    known = 0
    for corpus in corpora:
        found = select(corpus, wanted)
        known += len(found.kept) + len(found.dropped)
        preview.dropped = max(preview.dropped, len(found.dropped))
        for kind, values in found.draft.keys.items():
            preview.draft.keys[kind] |= values
        preview.draft.texts.extend(text for text in found.draft.texts if text not in preview.draft.texts)
        preview = Preview(_with_threshold(preview.draft, found.draft.threshold), {}, preview.dropped)
    if not known:
        raise NotFoundError(
            "no document fits what was named", where=stack.file.name, hint="lamina data explain finds ids"
        )
    with _drafted(stack, preview.draft) as (state, digest):
        for corpus in corpora:
            preview.corpora[corpus.name] = gone(corpus, state, digest)
    # What was made of them is known by its id if a source brings it again.
    preview.draft.keys["id"] |= {row["id"] for row in preview.rows() if row["how"] == "descendant"}
    return preview


def describe(preview: Preview) -> str:
    """The preview in words, for a terminal."""
    rows = preview.rows()
    counts = {how: sum(row["how"] == how for row in rows) for how in ("named", "near copy", "descendant")}
    lines = [
        f"{len(rows):,} documents go: {counts['named']:,} named, {counts['near copy']:,} near copies of them,"
        f" {counts['descendant']:,} made from them; and what is kept of {preview.dropped:,} that were dropped before"
    ]
    for row in rows[:_SHOWN]:
        alike = f" (Jaccard {row['likeness']})" if row["likeness"] and row["how"] == "near copy" else ""
        where = row["url"] or row["author"] or ""
        lines.append(f"  {row['how']:<10} {row['id']}  {row['source']}  {row['split']}  {where}{alike}")
    if len(rows) > _SHOWN:
        lines.append(f"  … and {len(rows) - _SHOWN:,} more")
    return "\n".join(lines)


def _told(preview: Preview, manifest: dict[str, Any]) -> dict[str, Any]:
    rows = [{k: row[k] for k in ("id", "how", "likeness", "source", "url", "split")} for row in preview.rows()]
    return {"documents": rows, "dropped": preview.dropped, "removal": manifest or None}


def _with_threshold(draft: Draft, threshold: float) -> Draft:
    return Draft(draft.keys, draft.texts, min(draft.threshold, threshold))


def _salts(stack: Stack) -> tuple[str, ...]:
    """The salts of pseudonyms that the sources of the stack use."""
    tables = stack.data.sources if stack.data else ()
    return tuple(dict.fromkeys(["lamina", *(str(table["salt"]) for table in tables if "salt" in table)]))


@contextmanager
def _drafted(stack: Stack, draft: Draft) -> Iterator[tuple[Path, str]]:
    """The draft as tombstones in a folder of their own: what looks for them runs in other processes."""
    folder = stack.state / "work" / new_id("draft")
    make_folder(folder)
    try:
        drafted = Tombstones(folder)
        drafted.add(draft, id="draft", reason="")
        yield folder, str(drafted.digest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(stack: Stack) -> Iterator[Tombstones]:
    """The stack's tombstones, while no other removal and no stage runs."""
    with process_lock.hold(stack.state / "removal.lock", "a removal"):
        if _workshop(stack, open_progress("quiet")).running():
            raise BusyError("a stage of this stack runs", where=str(stack.state), hint="wait until it has ended")
        yield Tombstones(stack.state)


def _finish(stack: Stack, tombstones: Tombstones, progress: Progress) -> dict[str, Any]:
    """Carry every pending removal through; the manifest of the last one."""
    manifest: dict[str, Any] = {}
    if tombstones.pending:
        sweep = Sweep(stack, _workshop(stack, progress), tombstones, progress)
        manifest = sweep.carry_out()
        _renew_page(stack)
        for removal in tombstones.pending:
            tombstones.finish(removal, sweep.done(removal))
        sweep.close()
    return manifest


def _renew_page(stack: Stack) -> None:
    """The page that ``lamina data report`` wrote shows texts: written anew where it stands, else left alone."""
    from lamina.recipes.corpus_tools import report

    page = stack.folder / f"{stack.name}-corpus.html"
    if not page.exists():
        return
    try:
        report(stack)
    except LaminaError:  # no corpus is left to show
        remove(page)


def _workshop(stack: Stack, progress: Progress) -> Workshop:
    return Workshop(stack.state, progress)
