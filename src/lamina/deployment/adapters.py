"""The adapters that a service keeps, by name: read, bounded, each for the version that it was loaded on.

A sequence holds the adapter that it began with, so one that is unloaded (or replaced) goes on answering what runs, and
its memory is freed with the last of it. A request for an adapter is answered by the adapter's version, also where
another one has become the champion since.
"""

from __future__ import annotations

import logging
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lamina.contracts.adapters import ServedAdapter
from lamina.contracts.lineage import ModelVersion
from lamina.deployment.engine.adapters import EngineAdapter, fuse_adapter
from lamina.deployment.loaded import Loaded, Versions
from lamina.kit.errors import InputError, ModelFileError, NotFoundError, RefusedError, TooLargeError
from lamina.model.adapters import CONFIG, WEIGHTS, Adapter, read_adapter
from lamina.model.spec import ModelSpec

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}")
_KEY = re.compile(r"[0-9a-f]{32,64}")  # how a run names the base that it trained on


@dataclass(frozen=True, slots=True)
class Kept:
    """An adapter: what is told of it, and what computes."""

    told: ServedAdapter
    engine: EngineAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterLimits:
    """``folders``: below them a path of a request may lie; ``base``: the key of the stack's base model."""

    folders: Sequence[Path] = ()
    most: int = 8
    most_rank: int = 64
    base: str | None = None
    reserved: Collection[str] = ()  # names that mean something else


class AdapterShelf:
    """The adapters by name. May be used from any thread."""

    def __init__(self, limits: AdapterLimits) -> None:
        self.limits = limits
        self.loading = threading.Lock()  # one is read at a time
        self._kept: dict[str, Kept] = {}

    def find(self, name: str) -> Kept | None:
        """The adapter of this name."""
        return self._kept.get(name)

    def all(self) -> list[Kept]:
        """All of them, by name."""
        return [kept for _, kept in sorted(self._kept.items())]

    def check(self, name: str, *, replace: bool) -> None:
        """Raise where no adapter of this ``name`` can be added."""
        if not _NAME.fullmatch(name):
            raise InputError("a name has letters, digits and . _ : @ / - and at most 128 characters", where="lora_name")
        if name in self.limits.reserved:
            raise InputError(f"'{name}' is the name of a model", where="lora_name")
        if name in self._kept and not replace:
            raise InputError(f"there is an adapter '{name}' already", where="lora_name", hint="unload it first")
        if name not in self._kept and len(self._kept) >= self.limits.most:
            raise TooLargeError(f"{self.limits.most} adapters are loaded, more are not kept", hint="unload one first")

    def allowed(self, path: str) -> Path:
        """The folder that a request's ``path`` names, where it may be read. Says nothing of others."""
        for folder in (folder.resolve() for folder in self.limits.folders):
            wanted = (folder / path).resolve() if path and "\0" not in path else Path("/")
            files = [(wanted / name).resolve() for name in (CONFIG, WEIGHTS)]
            if all(place.is_relative_to(folder) for place in (wanted, *files)) and wanted.is_dir():
                return wanted
        raise RefusedError(
            "there is no folder of this path that the server may read",
            where="lora_path",
            hint="it reads adapters below its state and the folders of deployment.adapters_from",
        )

    def keep(self, kept: Kept) -> None:
        """Answer for it from now on."""
        self._kept = {**self._kept, kept.told.name: kept}

    def drop(self, name: str) -> None:
        """Answer for it no more. Raises ``NotFoundError``."""
        if name not in self._kept:
            raise NotFoundError(f"there is no adapter '{name[:64]}'", where="lora_name")
        self._kept = {other: kept for other, kept in self._kept.items() if other != name}


class AdapterAsking(ABC):
    """``contracts.adapters.Adapters`` over the versions that a service holds."""

    _registry: Versions
    _shelf: AdapterShelf

    @abstractmethod
    def held(self, name: str) -> AbstractContextManager[Loaded]:
        """A version, in memory as long as the block lasts."""

    def adapters(self) -> Sequence[ServedAdapter]:
        """Those that may be asked, by name."""
        return [kept.told for kept in self._shelf.all()]

    def load_adapter(self, name: str, path: str, *, replace: bool = False) -> ServedAdapter:
        """Read the adapter in the folder that a request names; see the contract."""
        return self.add_adapter(name, self._shelf.allowed(path), replace=replace)

    def add_adapter(self, name: str, folder: Path, *, replace: bool = False) -> ServedAdapter:
        """The same for a ``folder`` that the stack file names, wherever it lies."""
        with self._shelf.loading, self.held("") as loaded:
            self._shelf.check(name, replace=replace)
            if self._names_a_version(name):
                raise InputError(f"'{name}' is the name of a model", where="lora_name")
            runner, version = loaded.own.runner, loaded.version
            spec: ModelSpec = runner.model.spec
            adapter = read_adapter(folder, spec, most_rank=self._shelf.limits.most_rank)
            _check_base(adapter, version, self._shelf.limits.base, str(folder))
            fused = fuse_adapter(adapter, spec.stack, name=name, device=runner.device)
            told = ServedAdapter(
                name=name,
                version=version.id,
                rank=adapter.rank,
                digest=adapter.digest,
                source=str(folder),
                created=datetime.now(UTC),
            )
            self._shelf.keep(Kept(told, fused))
        _log.info("adapter %s on %s: rank %d, %.1f MiB", name, version.id, adapter.rank, fused.bytes / 2**20)
        return told

    def unload_adapter(self, name: str) -> None:
        """Take no more requests for it."""
        self._shelf.drop(name)
        _log.info("adapter %s takes no more requests", name)

    def _names_a_version(self, name: str) -> bool:
        try:
            self._registry.resolve(name)
        except NotFoundError:
            return False
        return True


def _check_base(adapter: Adapter, version: ModelVersion, base: str | None, where: str) -> None:
    """Refuse an adapter that one of our runs trained on another model than ``version`` is; that of others is taken at
    its word, since they name bases as they like."""
    if adapter.base is None or not _KEY.fullmatch(adapter.base):
        return
    if version.role == "base" and adapter.base == base:
        return
    raise ModelFileError(
        f"the adapter was trained on the base {adapter.base[:12]}, not on {version.id}",
        where=where,
        hint="serve that base without training, or the model that the run merged it into",
    )
