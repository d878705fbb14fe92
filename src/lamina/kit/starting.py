"""While a server starts: no search for garbage, and modules that load beside the main thread.

Importing makes some hundred thousand objects, and nearly all of them stay: looking through them again and again, as
there are more, takes a tenth of the start and finds nothing.
"""

from __future__ import annotations

import gc
import threading
from contextlib import suppress
from importlib import import_module


def begin() -> None:
    """No search for garbage from now on, until ``settle``."""
    gc.disable()


def settle() -> None:
    """What began is over: what is there now stays, and what comes is looked through as ever."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def collect() -> None:
    """Find all garbage, also among what was there when the start was over."""
    gc.unfreeze()
    gc.collect()


def import_beside(*modules: str) -> threading.Thread:
    """Import ``modules`` in a thread, while others wait or compute; whoever imports one of them next waits for it.

    Where one cannot be imported, that importer is told why.
    """

    def load() -> None:
        with suppress(Exception):
            for name in modules:
                import_module(name)

    thread = threading.Thread(target=load, name="imports", daemon=True)
    thread.start()
    return thread
