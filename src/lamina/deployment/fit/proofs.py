"""What a start found out of a version, kept for the next start on the same machine.

Before a version answers, its seal is checked through torch, and the native kernels are compared with torch in scores
and speed: seconds, and always the same outcome where nothing changed. What that depends on makes the key: the bytes of
the version's files and its seal, processor and limits, the libraries, the native one's bytes, our own code, and how the
engine is set. A kept ``Proof`` is not believed by its key alone: the kernels must give the bits again that it tells of.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import tokenizers
import torch

import lamina
from lamina.deployment.engine.choice import Proof
from lamina.deployment.engine.native import binding
from lamina.deployment.seal import machine
from lamina.kit.durable import atomic_write
from lamina.kit.identity import blake3_hex
from lamina.kit.limits import busy, processor_flags, read_limits

_log = logging.getLogger(__name__)
_OPTIONS = ("cache", "block_tokens", "context", "deterministic")  # of the engine, on which scores or speed depend
_HEX = 64  # digits of a sha256 or blake3
_ROOMS = ("deployment", "model", "kit")  # of our code, which compute or check


class Proofs:
    """In ``folder``, a file for each. What is broken, or of something else, is as good as not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> Proof | None:
        """That of ``key``; None where there is none."""
        try:
            told = json.loads(self._file(key).read_bytes())
            if told["key"] == key and len(told["bits"]) == _HEX and int(told["bits"], 16) >= 0:
                return Proof(told["bits"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def keep(self, key: str, proof: Proof) -> None:
        """For the next start; not where other work kept the machine busy, since what is faster was measured beside it.

        A disk that is full costs the next start some seconds, and nobody an answer.
        """
        if busy():
            _log.warning("other work keeps this machine busy: the next start tries the kernels again")
            return
        with suppress(OSError):
            atomic_write(self._file(key), json.dumps({"key": key, "bits": proof.bits}).encode())

    def forget(self, key: str) -> None:
        """It does not hold any more."""
        with suppress(OSError):
            self._file(key).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._folder / f"proof-{key[:16]}.json"


def key_of(digest: str, seal: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """What names a proof: 64 hexadecimal digits. ``digest``: of the version's files; ``options``: of ``Engine``."""
    return blake3_hex(
        *(digest, json.dumps(seal, sort_keys=True)),
        *(machine(torch.device("cpu")), processor_flags(), str(read_limits().quota)),
        *(lamina.__version__, _code(), tokenizers.__version__, safetensors.__version__),
        *(binding.describe(), _library()),
        repr([(name, options.get(name)) for name in _OPTIONS]),
    )


@functools.cache
def _code() -> str:
    """Our own code, by the sizes and times of its files: reading them would take longer than a proof's other parts.

    Where both are as before though the code is not (times that were set), the bits that are asked for again tell it.
    """
    root = Path(lamina.__file__).parent
    files = sorted(file for room in _ROOMS for file in (root / room).rglob("*.py"))
    stats = [(str(file.relative_to(root)), file.stat()) for file in files]
    return blake3_hex(repr([(name, about.st_size, about.st_mtime_ns) for name, about in stats]))


def _library() -> str:
    try:
        return blake3_hex(binding.LIBRARY.read_bytes())
    except OSError:
        return ""
