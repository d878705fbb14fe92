"""The service: answers from the champion, and swaps it while it answers.

A watcher asks the registry for its epoch every second. Where the champion is another one it is loaded beside the old
one, checked against its seal, warmed, and only then takes the new requests; those that run finish on the version that
began them, and when the last has ended the old version is freed. A version that cannot be loaded changes nothing: the
old one goes on answering, and the failure is logged, counted and told by ``failure``.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from lamina.contracts.inference import Chunk, Request
from lamina.contracts.lineage import ModelVersion
from lamina.deployment.adapters import AdapterAsking, AdapterLimits, AdapterShelf
from lamina.deployment.asking import TextAsking
from lamina.deployment.compress.quantize import Quantization
from lamina.deployment.drafts import DraftOf
from lamina.deployment.engine.cache import Cache
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.observer import Load
from lamina.deployment.fit.fitter import Fitter
from lamina.deployment.fit.follower import Follower
from lamina.deployment.loaded import Loaded, NgramsOf, Versions, load_version, prompt_ids, unload
from lamina.deployment.metrics import ServingMetrics
from lamina.deployment.streaming import answer
from lamina.deployment.vllm.opening import EngineName
from lamina.kit.errors import BusyError, LaminaError, NotFoundError
from lamina.model.device import Device

_log = logging.getLogger(__name__)
_POLL_S = 1.0
_TRIES = 3
_STALE_S = 10.0  # a step that takes longer than this means that the engine does not get on


class ServingService(TextAsking, AdapterAsking):
    """``contracts.inference.InferenceService`` over the versions of ``registry``; the champion is loaded at once.

    ``context`` caps prompt and answer (default: what the model was made for); ``cache_mb`` MiB per loaded version hold
    keys and values, of the kind ``cache``; ``quantize``: see ``open_texts``, ``ngrams``, ``draft``: ``load_version``,
    ``engine``: ``open_by_vllm``. ``fitter`` measures the machine, chooses what is not given, and follows its limits.
    Raises what loading raises: ``NotFoundError`` (no champion), ``CorruptError`` (broken seal). ``close`` when done.
    """

    def __init__(
        self,
        registry: Versions,
        *,
        max_sequences: int | None = None,
        cache_mb: int | None = None,
        cache: Cache = None,
        context: int | None = None,
        block_tokens: int = 16,
        queue_tokens: int = 32768,
        max_wait: float | None = None,
        metrics: CollectorRegistry | None = None,
        poll_s: float = _POLL_S,
        device: Device = "auto",
        speculate: bool = True,
        ngrams: NgramsOf | None = None,
        draft: DraftOf | None = None,
        deterministic: bool = False,
        quantize: Quantization = "none",
        fitter: Fitter | None = None,
        adapters: AdapterLimits | None = None,
        engine: EngineName = "lamina",
    ) -> None:
        self._registry, self._device, self._fitter, self._longest = registry, device, fitter, context
        room = {"queue_tokens": queue_tokens, "max_wait": max_wait, "context": context}
        cached = {"cache_mb": cache_mb, "cache": cache, "block_tokens": block_tokens}
        guessing = {"speculate": speculate, "ngrams": ngrams, "draft": draft}
        self._options: dict[str, Any] = {
            **(room | cached | guessing),
            **{"max_sequences": max_sequences, "deterministic": deterministic, "quantize": quantize, "engine": engine},
        }
        self._shelf = AdapterShelf(adapters or AdapterLimits())
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._loaded: dict[str, Loaded] = {}
        self._metrics = ServingMetrics(metrics if metrics is not None else CollectorRegistry(), self.loads)
        self.failure: LaminaError | None = None  # why the registry's champion could not be loaded, while it cannot
        self._follower: Follower | None = None
        self._epoch, self._stop = registry.epoch(), threading.Event()
        self._champion = self._load(registry.resolve(""))
        self._watcher = threading.Thread(target=self._watch, args=(poll_s,), name="champion watcher", daemon=True)
        self._watcher.start()
        self._follower = None if fitter is None else Follower(fitter, self._engines)

    # -- asking ---------------------------------------------------------------------------------------------------

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """The answer, piece by piece, all from one version. Closing the iterator aborts the request.

        Raises ``InputError`` (``context_length_exceeded``, bad parameters), ``NotFoundError`` (no such model) or
        ``BusyError`` before the first chunk, and ``LaminaError`` where the model fails on the way.
        """
        kept = self._shelf.find(request.model)
        adapter = None if kept is None else kept.engine
        loaded = await self._acquire(request.model if kept is None else kept.told.version)
        try:
            async with aclosing(answer(loaded.engine, loaded.tokenizer, request, adapter)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._let_go(loaded)

    def check_room(self, key: str, active: int) -> None:
        """Raise ``BusyError`` where the champion has no room for ``key``; ``active`` requests were let in before it."""
        if self._champion.texts is None:
            self._champion.engine.check_room(key, active)

    def count_tokens(self, request: Request) -> int:
        """Tokens of the request's prompt, as the champion's (or the named, loaded version's) tokenizer has it."""
        loaded = self._find(request.model) or self._champion
        return len(prompt_ids(loaded.tokenizer, request))

    @property
    def version(self) -> str:
        """The id of the version that answers now."""
        return self._champion.version.id

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._champion.serving.context

    def loads(self) -> dict[str, Load]:
        """How busy each loaded version is."""
        with self._lock:
            loaded = list(self._loaded.values())
        return {one.version.id: one.serving.load() for one in loaded}

    def _engines(self) -> dict[str, Engine]:
        """Those that are loaded, by version."""
        with self._lock:
            found = {one.version.id: one.serving for one in self._loaded.values()}
        return {version: serving for version, serving in found.items() if isinstance(serving, Engine)}

    def healthy(self) -> bool:
        """Whether the champion's engine gets on with its work."""
        return (self._champion.serving.load().step_age or 0.0) < _STALE_S  # None: it has nothing to do

    def close(self) -> None:
        """Stop watching, end what runs, free the models. Idempotent."""
        self._stop.set()
        if threading.current_thread() is not self._watcher:
            self._watcher.join()
        if self._follower is not None:
            self._follower.close()
        with self._lock:
            loaded, self._loaded = list(self._loaded.values()), {}
        for one in loaded:
            one.serving.close()

    # -- versions -------------------------------------------------------------------------------------------------

    @contextmanager
    def held(self, name: str) -> Iterator[Loaded]:
        """As ``_acquire`` and ``_let_go``, for threads."""
        loaded = self._hold_champion() if name in ("", "champion") else self._held_beside(self._registry.resolve(name))
        try:
            yield loaded
        finally:
            self._let_go(loaded)

    def _held_beside(self, version: ModelVersion) -> Loaded:
        for _ in range(_TRIES):
            held = self._hold(version.id)
            if held is not None:
                return held
            self._load_beside(version)
        raise BusyError(f"{version.id} had to make room for another version", hint="ask again")

    async def _acquire(self, name: str) -> Loaded:
        """The version that ``name`` means, held until ``_let_go``; loads it first where it is not in memory."""
        if name in ("", "champion"):
            return self._hold_champion()
        found = await asyncio.to_thread(self._registry.resolve, name)
        for _ in range(_TRIES):
            held = self._hold(found.id)
            if held is not None:
                return held
            # Held only after the await: a request that is cancelled meanwhile must not hold it for ever.
            await asyncio.to_thread(self._load_beside, found)
        raise BusyError(f"{found.id} had to make room for another version", hint="ask again")

    def _hold_champion(self) -> Loaded:
        with self._lock:
            if self._stop.is_set():
                raise BusyError("the server is shutting down", hint="ask again")
            self._champion.users += 1
            return self._champion

    def _hold(self, id: str) -> Loaded | None:
        with self._lock:
            loaded = self._loaded.get(id)
            if loaded is not None:
                loaded.users += 1
            return loaded

    def _find(self, name: str) -> Loaded | None:
        with self._lock:
            return self._loaded.get(name)

    def _load_beside(self, version: ModelVersion) -> None:
        """Load a version beside the champion, in the place of the one that was asked for before it."""
        with self._loading:
            if self._find(version.id) is not None:
                return
            with self._lock:
                others = [o for o in self._loaded.values() if o is not self._champion]
                busy = [o.version.id for o in others if o.users]
            if busy:
                raise BusyError(f"{', '.join(busy)} is answering beside the champion", hint="ask again")
            for other in others:
                self._retire(other)
            self._load(version)

    def _let_go(self, loaded: Loaded) -> None:
        with self._lock:
            loaded.users -= 1
            done = loaded.retired and not loaded.users
        if done:
            self._free(loaded)

    def _load(self, version: ModelVersion) -> Loaded:
        if self._follower is not None:
            self._follower.make_room()
        loaded = load_version(self._registry, version, self._options, device=self._device, fitter=self._fitter)
        loaded.serving.observer = self._metrics.observer(version.id)
        with self._lock:
            self._loaded[version.id] = loaded
        self._metrics.loads.labels("ok").inc()
        return loaded

    def _retire(self, loaded: Loaded) -> None:
        """Give it no new requests; free it when the last one has ended."""
        with self._lock:
            if loaded is self._champion or loaded.retired:
                return
            loaded.retired = True
            if self._loaded.get(loaded.version.id) is loaded:
                del self._loaded[loaded.version.id]
            done = not loaded.users
        if done:
            self._free(loaded)

    def _free(self, loaded: Loaded) -> None:
        threading.Thread(target=unload, args=(loaded,), name=f"unload {loaded.version.id}", daemon=True).start()

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
                self._champion = new
        _log.info("%s answers now, %s before", wanted.id, old.version.id)
        self._retire(old)

    def _fail(self, error: LaminaError) -> None:
        if str(error) != str(self.failure):
            _log.error("the new champion could not be loaded, %s goes on answering: %s", self.version, error)
            self._metrics.loads.labels("failed").inc()
        self.failure = error
