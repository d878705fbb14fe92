"""Where units of work run: on this machine's worker processes, or on a Ray cluster. What comes out is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

from lamina.kit import jail
from lamina.kit.errors import ConfigError
from lamina.kit.workers import Workers, resolve


class Executor(Protocol):
    """Runs a function over payloads, anywhere."""

    def map(self, function: str, payloads: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        """The value of ``function`` ("module:name") for each payload, in any order."""
        ...


class Local:
    """Worker processes of this machine; a single unit is done in this process."""

    def __init__(self, workers: int | None = None) -> None:
        self._count = workers
        self._workers: Workers | None = None

    def map(self, function: str, payloads: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        """In the order of the payloads."""
        if len(payloads) < 2:
            call: Callable[..., Any] = resolve(function)
            yield from (call(dict(payload)) for payload in payloads)
            return
        if self._workers is None:
            self._workers = Workers(self._count)
        yield from self._workers.map(function, payloads)

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._workers is not None:
            self._workers.close()
        jail.keep(None)  # of what was done in this process


def open_executor(name: str, workers: int | None = None) -> AbstractContextManager[Executor]:
    """The executor called ``name``: "local" or "ray". Raises ``ConfigError`` or ``MissingExtraError``."""
    if name == "local":
        return Local(workers)
    if name == "ray":
        from lamina.data.executor_ray import OnRay

        return OnRay(workers)
    raise ConfigError(f"there is no executor '{name}'", where="data.executor", hint="local, ray")
