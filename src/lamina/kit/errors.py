"""The one exception tree.

    LaminaError                       what went wrong, where, and what to do
    ├── InputError                    the user's input is at fault                     exit 2, HTTP 400
    │   ├── ConfigError               the stack file or --set                          exit 2
    │   ├── DocumentError             one document; it is quarantined, the rest goes on
    │   ├── ModelFileError            a checkpoint, GGUF or tokenizer file             exit 2
    │   ├── NotFoundError             no such version, document, answer                exit 2, HTTP 404
    │   └── TooLargeError             over a stated limit                              exit 2, HTTP 413
    ├── RefusedError                  not allowed: no key, wrong scope, wrong host     exit 2, HTTP 401/403
    ├── BusyError                     another run holds the lock; port used            exit 2, HTTP 503
    │   └── QueueFullError            too much is waiting; ``retry_after`` says how long exit 2, HTTP 429
    ├── DeadlineError                 it was not done in the time that it was given    exit 1, HTTP 408
    ├── FetchError                    a registry, site or URL did not give what was asked   exit 5
    ├── StorageError                  the disk or database failed: full, EIO, torn     exit 4, HTTP 507
    │   └── CorruptError              bytes do not have the hash that was recorded     exit 4
    ├── StageError                    a stage of the stack failed; names its log       exit 1
    └── MissingExtraError             an optional package is not installed             exit 2

Catch ``LaminaError`` to report; catch a leaf to handle. Never ``assert`` on input.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any


class LaminaError(Exception):
    """``what`` went wrong, ``where`` (file:line, key, URL, tensor), ``hint``: what to do about it.

    >>> print(LaminaError("no such key 'stpes'", where="lamina.toml: model.train", hint="did you mean 'steps'?"))
    lamina.toml: model.train: no such key 'stpes' (did you mean 'steps'?)
    """

    exit_code = 1
    status = 500  # HTTP
    code = "server_error"  # OpenAI's error code
    retryable = False
    retry_after: float | None = None  # seconds, where they are known

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.hint})" if self.hint else text


class InputError(LaminaError):
    """The user's input is at fault."""

    exit_code, status, code = 2, 400, "invalid_request"


class ConfigError(InputError):
    """The stack file, or a ``--set``, says something that cannot be."""

    code = "invalid_config"


class DocumentError(InputError):
    """One document cannot be read; it is listed with this reason and the rest goes on."""

    code = "unreadable_document"


class ModelFileError(InputError):
    """A checkpoint, GGUF or tokenizer file is malformed, truncated or of an unknown kind."""

    code = "invalid_model_file"


class NotFoundError(InputError):
    """No such version, document or answer."""

    status, code = 404, "not_found"


class TooLargeError(InputError):
    """Over a stated limit."""

    status, code = 413, "too_large"


class RefusedError(LaminaError):
    """Not allowed: no key, the wrong scope, a foreign host."""

    exit_code, status, code = 2, 403, "refused"


class BusyError(LaminaError):
    """Somebody else holds it: a lock, a port, a full queue."""

    exit_code, status, code, retryable = 2, 503, "busy", True


class QueueFullError(BusyError):
    """Too much is waiting already."""

    status, code = 429, "queue_full"


class DeadlineError(LaminaError):
    """It was not done in the time that it was given."""

    status, code = 408, "deadline_exceeded"


class FetchError(LaminaError):
    """A registry, site or URL did not give what was asked for."""

    exit_code, status, code, retryable = 5, 502, "fetch_failed", True


class StorageError(LaminaError):
    """The disk or the database failed."""

    exit_code, status, code = 4, 507, "storage_failed"


class CorruptError(StorageError):
    """Bytes do not have the hash that was recorded for them."""

    code = "corrupt"


class StageError(LaminaError):
    """A stage of the stack failed; ``where`` names its log."""

    code = "stage_failed"


class MissingExtraError(LaminaError):
    """An optional package is not installed."""

    exit_code, code = 2, "missing_extra"


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """Import an optional ``module``, or say which extra brings it and what it is wanted for."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"the package '{module}' is not installed; it is needed {why}", hint=f"pip install 'lamina[{extra}]'"
        ) from error


def told(error: BaseException) -> dict[str, Any]:
    """An exception as JSON, for the process that waits for this one: its kinds, and what, where, hint."""
    types = [kind.__name__ for kind in type(error).__mro__]
    if isinstance(error, LaminaError):
        return {"types": types, "what": error.what, "where": error.where, "hint": error.hint}
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return {"types": types, "what": what, "where": None, "hint": None}


def restored(report: Mapping[str, Any]) -> LaminaError:
    """The ``LaminaError`` that ``told`` wrote down; of any other exception a ``StageError`` with its words."""
    for name in report["types"]:
        kind = globals().get(name)
        if isinstance(kind, type) and issubclass(kind, LaminaError):
            return kind(report["what"], where=report["where"], hint=report["hint"])
    return StageError(report["what"])
