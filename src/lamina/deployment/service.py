"""The service: answers from the champion, and swaps it while it answers.

A watcher asks the registry for its epoch every second. Where the champion is another one it is loaded beside the old
one, checked against its seal, warmed, and only then takes the new requests; those that run finish on the version that
began them, and when the last has ended the old version is freed. A version that cannot be loaded changes nothing: the
old one goes on answering, and the failure is logged, counted and told by ``failure``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from lamina.contracts.inference import Chunk, Request, SamplingParams
from lamina.contracts.lineage import ModelVersion
from lamina.deployment.compress.quantize import open_served
from lamina.deployment.engine.engine import Engine, Load, StreamingTokenizer
from lamina.deployment.metrics import ServingMetrics
from lamina.deployment.seal import check_seal
from lamina.kit.errors import BusyError, InputError, LaminaError, NotFoundError
from lamina.kit.tokenizer import open_tokenizer

_log = logging.getLogger(__name__)
_POLL_S = 1.0
_STALE_S = 10.0  # a step that takes longer than this means that the engine does not get on


class Versions(Protocol):
    """What the service needs of the registry."""

    def epoch(self) -> int:
        """Counts up with each change of a name."""
        ...

    def resolve(self, name: str) -> ModelVersion:
        """By alias or id; "" is the champion."""
        ...

    def folder(self, version: str) -> Path:
        """A version's folder, verified."""
        ...

    def seal(self, version: str) -> dict[str, Any]:
        """A version's parity seal."""
        ...


@dataclass(slots=True, eq=False)
class Loaded:
    """A version in memory. ``users`` counts the requests that hold it; a retired one is freed when the last ends."""

    version: ModelVersion
    tokenizer: StreamingTokenizer
    engine: Engine
    users: int = 0
    retired: bool = False
    pinned: set[str] = field(default_factory=set)  # aliases that keep it loaded


class ServingService:
    """``contracts.inference.InferenceService`` over the versions of ``registry``; the champion is loaded at once.

    ``context`` caps prompt and answer (default: what the model was made for); ``cache_mb`` MiB per loaded version hold
    keys and values. Raises what loading raises: ``NotFoundError`` (no champion), ``CorruptError`` (wrong bytes, broken
    seal). ``close`` when done.
    """

    def __init__(
        self,
        registry: Versions,
        *,
        max_sequences: int = 8,
        cache_mb: int = 128,
        context: int | None = None,
        block_tokens: int = 16,
        queue_tokens: int = 32768,
        metrics: CollectorRegistry | None = None,
        poll_s: float = _POLL_S,
    ) -> None:
        self._registry = registry
        self._options: dict[str, Any] = {
            "max_sequences": max_sequences,
            "cache_mb": cache_mb,
            "context": context,
            "block_tokens": block_tokens,
            "queue_tokens": queue_tokens,
        }
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._loaded: dict[str, Loaded] = {}
        self._metrics = ServingMetrics(metrics if metrics is not None else CollectorRegistry(), self.loads)
        self.failure: LaminaError | None = None  # why the registry's champion could not be loaded, while it cannot
        self._epoch = registry.epoch()
        self._stop = threading.Event()
        self._champion = self._load(registry.resolve(""))
        self._champion.pinned.add("champion")
        self._watcher = threading.Thread(target=self._watch, args=(poll_s,), name="champion watcher", daemon=True)
        self._watcher.start()

    # -- asking ---------------------------------------------------------------------------------------------------

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The answer, piece by piece, all from one version. Closing the iterator aborts the request.

        Raises ``InputError`` (``context_length_exceeded``, bad parameters), ``NotFoundError`` (no such model) or
        ``BusyError`` before the first chunk, and ``LaminaError`` where the model fails on the way.
        """
        loaded = await self._acquire(request.model)
        try:
            prompt = await asyncio.to_thread(_prompt, loaded.tokenizer, request)
            # Bounded by the answer: the engine never makes more chunks than max_tokens.
            chunks: asyncio.Queue[Chunk | LaminaError] = asyncio.Queue(maxsize=loaded.engine.context + 1)
            loop = asyncio.get_running_loop()
            loaded.engine.submit(request.id, prompt, request.sampling, chunks.put_nowait, loop=loop)
            ended = False
            try:
                while not ended:
                    item = await chunks.get()
                    ended = isinstance(item, LaminaError) or item.finish_reason is not None
                    if isinstance(item, LaminaError):
                        raise item
                    yield item
            finally:
                if not ended:
                    loaded.engine.abort(request.id)
        finally:
            self._let_go(loaded)

    def count_tokens(self, request: Request) -> int:
        """Tokens of the request's prompt, as the champion's (or the named, loaded version's) tokenizer has it."""
        loaded = self._find(request.model) or self._champion
        return len(_prompt(loaded.tokenizer, request))

    @property
    def version(self) -> str:
        """The id of the version that answers now."""
        return self._champion.version.id

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._champion.engine.context

    def loads(self) -> dict[str, Load]:
        """How busy each loaded version is."""
        with self._lock:
            loaded = list(self._loaded.values())
        return {one.version.id: one.engine.load() for one in loaded}

    def healthy(self) -> bool:
        """Whether the champion's engine gets on with its work."""
        age = self._champion.engine.load().step_age
        return age is None or age < _STALE_S

    def close(self) -> None:
        """Stop watching, end what runs, free the models. Idempotent."""
        self._stop.set()
        if threading.current_thread() is not self._watcher:
            self._watcher.join()
        with self._lock:
            loaded, self._loaded = list(self._loaded.values()), {}
        for one in loaded:
            one.engine.close()

    # -- versions -------------------------------------------------------------------------------------------------

    async def _acquire(self, name: str) -> Loaded:
        """The version that ``name`` means, held until ``_let_go``; loads it first where it is not in memory."""
        if name in ("", "champion"):
            return self._hold_champion()
        found = await asyncio.to_thread(self._registry.resolve, name)
        held = self._hold_id(found.id)
        if held is not None:
            return held
        return await asyncio.to_thread(self._load_and_hold, found)

    def _hold_champion(self) -> Loaded:
        with self._lock:
            if self._stop.is_set():
                raise BusyError("the server is shutting down", hint="ask again")
            self._champion.users += 1
            return self._champion

    def _hold_id(self, id: str) -> Loaded | None:
        with self._lock:
            loaded = self._loaded.get(id)
            if loaded is not None:
                loaded.users += 1
            return loaded

    def _find(self, name: str) -> Loaded | None:
        with self._lock:
            return self._loaded.get(name)

    def _load_and_hold(self, version: ModelVersion) -> Loaded:
        """Load a version other than the champion: one at a time, and only while something asks for it."""
        with self._loading:
            held = self._hold_id(version.id)
            if held is not None:
                return held
            with self._lock:
                idle = [o for o in self._loaded.values() if not o.pinned and not o.users]
                busy = [o for o in self._loaded.values() if not o.pinned and o.users]
            if busy:
                raise BusyError(f"another version beside the champion is answering, {version.id} must wait")
            for other in idle:
                self._retire(other)
            loaded = self._load(version)
            with self._lock:
                loaded.users += 1
            return loaded

    def _let_go(self, loaded: Loaded) -> None:
        with self._lock:
            loaded.users -= 1
            done = loaded.retired and not loaded.users
        if done:
            self._free(loaded)

    def _load(self, version: ModelVersion) -> Loaded:
        """Open, check and warm a version."""
        folder = self._registry.folder(version.id)
        model, tokenizer = open_served(folder), open_tokenizer(folder)
        seal = self._registry.seal(version.id)
        if seal:
            check_seal(model, tokenizer, seal, digest=version.digest)
        else:
            _log.warning("%s has no parity seal: nothing proves that it is the one that was measured", version.id)
        engine = Engine(
            model,
            tokenizer,
            version=version.id,
            generation=_generation(folder),
            **self._options,
        )
        try:
            _warm(engine)
        except BaseException:
            engine.close()
            raise
        engine.observer = self._metrics.observer(version.id)
        loaded = Loaded(version=version, tokenizer=tokenizer, engine=engine)
        with self._lock:
            self._loaded[version.id] = loaded
        self._metrics.loads.labels("ok").inc()
        _log.info("%s is loaded; generation defaults: %s", version.id, engine.generation)
        return loaded

    def _retire(self, loaded: Loaded) -> None:
        """Give it no new requests; free it when the last one has ended."""
        with self._lock:
            if loaded.pinned or loaded.retired:
                return
            loaded.retired = True
            if self._loaded.get(loaded.version.id) is loaded:
                del self._loaded[loaded.version.id]
            done = not loaded.users
        if done:
            self._free(loaded)

    def _free(self, loaded: Loaded) -> None:
        def free() -> None:
            loaded.engine.close()
            loaded.engine.forget()
            gc.collect()
            _log.info("%s is unloaded", loaded.version.id)

        threading.Thread(target=free, name=f"unload {loaded.version.id}", daemon=True).start()

    # -- the watcher's thread ---------------------------------------------------------------------------------------

    def _watch(self, poll_s: float) -> None:
        failed_epoch, failures, again = -1, 0, 0.0
        while not self._stop.wait(poll_s):
            try:
                epoch = self._registry.epoch()
                if epoch == self._epoch or (epoch == failed_epoch and time.monotonic() < again):
                    continue
                failures = failures + 1 if epoch == failed_epoch else 1  # until it is known to have gone well
                failed_epoch, again = epoch, time.monotonic() + min(60.0, poll_s * 2**failures)
                self._follow()
                self._epoch, failed_epoch, self.failure = epoch, -1, None
            except LaminaError as error:
                self._fail(error)
            except Exception as error:
                _log.exception("the champion could not be swapped")
                self._fail(LaminaError(f"{type(error).__name__}: {error}"))

    def _follow(self) -> None:
        """Make the registry's champion ours."""
        try:
            wanted = self._registry.resolve("")
        except NotFoundError:
            return
        old = self._champion
        if wanted.id == old.version.id:
            return
        with self._loading:
            new = self._find(wanted.id) or self._load(wanted)
            with self._lock:
                new.pinned.add("champion")
                self._champion = new
                old.pinned.discard("champion")
        _log.info("%s answers now, %s before", wanted.id, old.version.id)
        self._retire(old)

    def _fail(self, error: LaminaError) -> None:
        if str(error) != str(self.failure):
            _log.error("the new champion could not be loaded, %s goes on answering: %s", self.version, error)
            self._metrics.loads.labels("failed").inc()
        self.failure = error


def _prompt(tokenizer: StreamingTokenizer, request: Request) -> list[int]:
    """The token ids of a request: a rendered conversation, encoded text, or ids as they are."""
    if request.messages:
        return tokenizer.render(request.messages, open_answer=True).ids
    if isinstance(request.prompt, str):
        return tokenizer.encode(request.prompt)
    if request.prompt is None:
        raise InputError("needs either 'messages' or 'prompt'", where="messages")
    return list(request.prompt)


def _generation(folder: Path) -> dict[str, Any]:
    """The model's ``generation_config.json``; empty where there is none."""
    with suppress(FileNotFoundError, ValueError):
        values = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}
    return {}


def _warm(engine: Engine) -> None:
    """A prompt and a few tokens through the real queue, so that the first user does not wait for cold memory."""
    done = threading.Event()
    failures: list[LaminaError] = []

    def receive(item: Chunk | LaminaError) -> None:
        if isinstance(item, LaminaError):
            failures.append(item)
        if failures or (isinstance(item, Chunk) and item.finish_reason):
            done.set()

    count = min(32, engine.context - 4)
    engine.submit("warm-up", [0] * max(1, count), SamplingParams(temperature=0.0, max_tokens=2), receive)
    if not done.wait(300):
        raise LaminaError("the model did not answer its first request within 300 s")
    if failures:
        raise failures[0]
