"""An inbox whose archives are opened: a zip or tar file is read as the folder that it stands for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers.archive import is_folder, members
from lamina.data.rows import Notes
from lamina.kit.errors import DocumentError


def files_of(inbox: Inbox, stack: ExitStack) -> Iterator[SourceFile]:
    """The files of the inbox; in the place of an archive those in it, on disk until ``stack`` is closed."""
    for file in inbox.files:
        if is_folder(file.name) and file.part is None:
            yield from _inside(inbox, file, stack)
        else:
            yield file


def _inside(inbox: Inbox, file: SourceFile, stack: ExitStack) -> Iterator[SourceFile]:
    if inbox.work is not None:
        inbox.work.mkdir(parents=True, exist_ok=True)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="archive-", dir=inbox.work)))
    notes, count = Notes(inbox, file.name), 0
    try:
        for inner in members(file, folder, notes):
            count += 1
            if count == 1:
                inbox.report.read(file.name)
            yield inner
        if not count:
            inbox.report.unread(file.name, "holds no file")
    except (DocumentError, OSError) as error:
        inbox.report.unread(file.name, f"{error}; {count:,} files before that were kept" if count else f"{error}")
    finally:
        notes.close()
