"""numba with its compiled code kept in a private folder. Import numba through here wherever ``cache=True`` is used.

Compiling takes seconds, loading what was compiled takes milliseconds; and numba's index is a pickle, so the folder
must be one that nobody else can write to. numba itself compiles a function anew when its own file changed, but not when
that of a function pasted into it did: so each state of all files called ``*kernels*`` has a folder of its own.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numba


def _sources() -> str:
    """A name for the kernels as they are: paths, sizes and times of the files with them."""
    package = Path(__file__).resolve().parent.parent
    files = sorted(f for pattern in ("*kernels*.py", "*kernels*/*.py") for f in package.rglob(pattern))
    facts = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()


def _cache_folder() -> str:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lamina" / "numba" / _sources()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError:
        return ""  # numba finds a place, or compiles anew each time
    return str(folder)


_config: Any = numba.config
if not _config.CACHE_DIR:
    _config.CACHE_DIR = _cache_folder()

#: Compiles a function at its first call for the types that it meets; releases the interpreter's lock while it runs.
_njit: Any = numba.njit
compiled: Any = _njit(nogil=True, cache=True)
#: The same without reference counts, which can take a third of the time: may not make arrays, only use them.
lean: Any = _njit(nogil=True, cache=True, _nrt=False)
