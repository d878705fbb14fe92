"""numba with its compiled code kept in a private folder. Import decorators from here wherever code is to be kept.

Compiling takes seconds, loading what was compiled takes milliseconds; and numba's index is a pickle, so the folder
must be one that nobody else can write to. numba itself compiles a function anew when its own file changed, but not when
a file changed whose functions or constants went into it: so each state of a file and of all that it imports from this
package has a folder of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

_PACKAGE = Path(__file__).resolve().parent.parent
_IMPORT = re.compile(r"^\s*(?:from|import)\s+lamina\.([\w.]+)", re.MULTILINE)
_config: Any = numba.config
_njit: Any = numba.njit
_elsewhere = bool(_config.CACHE_DIR)  # the environment says where compiled code goes


def _imports(file: Path) -> list[Path]:
    """The files of this package that ``file`` imports from."""
    places = [_PACKAGE.joinpath(*name.split(".")) for name in _IMPORT.findall(file.read_text(encoding="utf-8"))]
    return [f for place in places if (f := place.with_suffix(".py")).is_file() and f.name != "numba_cache.py"]


def _state(file: Path) -> str:
    """A name for ``file`` and all that it stands on, as they are."""
    waiting, seen = [file], {file}
    while waiting:
        for found in _imports(waiting.pop()):
            if found not in seen:
                seen.add(found)
                waiting.append(found)
    told = hashlib.blake2b(digest_size=8)
    for one in sorted(seen):
        told.update(one.name.encode() + b"\0" + one.read_bytes())
    return told.hexdigest()


@cache
def _folder(file: str) -> str:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lamina" / "numba" / _state(Path(file))
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.chmod(0o700)
    except OSError:
        return ""  # numba finds a place, or compiles anew each time
    return str(place)


def keeping(**options: Any) -> Callable[[Any], Any]:
    """A decorator like ``compiled`` with further ``options`` of numba's ``njit``."""
    decorate = _njit(cache=True, nogil=True, **options)

    def keep(function: Any) -> Any:
        if not _elsewhere:
            _config.CACHE_DIR = _folder(function.__code__.co_filename)
        return decorate(function)

    return keep


#: Compiles a function at its first call for the types that it meets; releases the interpreter's lock while it runs.
compiled: Any = keeping()
#: The same without reference counts, which can take a third of the time: may not make arrays, only use them.
lean: Any = keeping(_nrt=False)
