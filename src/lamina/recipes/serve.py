"""``lamina serve``: API, engine and web page in one process."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.kit.config import seconds
from lamina.kit.database import Database
from lamina.kit.errors import BusyError, ConfigError
from lamina.kit.progress import Progress, open_progress
from lamina.kit.starting import import_beside, settle
from lamina.recipes.adapters import adapter_limits, add_adapters
from lamina.recipes.current import recall
from lamina.recipes.drafts import find_drafts
from lamina.recipes.fitting import open_fitter
from lamina.recipes.ngrams import counts_ngrams, ngrams_of
from lamina.recipes.replay import StackReplays, adapter_folders, open_passages
from lamina.recipes.served_vectors import served_vectors
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prometheus_client import CollectorRegistry

    from lamina.deployment.registry import ModelRegistry
    from lamina.deployment.service import ServingService
    from lamina.interface.api.ports import ApiSettings
    from lamina.interface.grounding.retriever import StackRetriever
    from lamina.interface.keys import KeyRing
    from lamina.interface.store import FeedbackStore

PEPPER = "keys.pepper"
_LATER = ("lamina.interface.api.app", "lamina.interface.api.server")  # wanted once the model is there


def serve(stack: Stack, *, json: bool, assignments: Sequence[str] = ()) -> None:
    """Serve until SIGTERM or Ctrl-C; what runs is finished first."""
    progress = open_progress("json" if json else "auto")
    interface = stack.interface
    listener = _listen(interface.host, interface.port)
    with ExitStack() as stays:
        stays.callback(listener.close)
        app = stays.enter_context(make_app(stack, progress, assignments=tuple(assignments)))
        address = f"http://{'127.0.0.1' if interface.host == '0.0.0.0' else interface.host}:{listener.getsockname()[1]}"
        from lamina.interface.api.server import server  # was loaded beside the model

        settle()
        progress.say(f"page: {address}   API: {address}/v1   stop with Ctrl-C")
        server(app, host=interface.host, port=listener.getsockname()[1]).run(sockets=[listener])


@contextmanager
def make_app(stack: Stack, progress: Progress, *, assignments: tuple[str, ...] = ()) -> Iterator[FastAPI]:
    """The whole served stack as an ASGI application; everything is closed with the block."""
    from prometheus_client import CollectorRegistry

    from lamina.deployment.registry import ModelRegistry
    from lamina.interface.keys import KeyRing, check_bind
    from lamina.interface.store import FeedbackStore
    from lamina.recipes.jobs import ProcessJobs
    from lamina.recipes.trace import StackLineage

    with ExitStack() as stays:
        database = stays.enter_context(_database(stack))
        keys = KeyRing(database, stack.state / PEPPER)
        check_bind(stack.interface.host, keys)
        registry = ModelRegistry(database, stack.state / "models")
        registry.look_ahead(registry.aliases().get("champion", ""))  # its files are read while torch is loaded
        store = FeedbackStore(database)
        metrics = CollectorRegistry()
        vectors = served_vectors(stack)
        service = _service(stack, registry, metrics)
        stays.callback(service.close)
        add_adapters(stack, service)
        retriever = stays.enter_context(_retriever(stack, store))
        from lamina.deployment.texts.words import BesideModels  # with torch, which the service has loaded
        from lamina.interface.api.app import create_app

        jobs = ProcessJobs(stack, assignments)
        stays.callback(jobs.stop)
        yield create_app(
            service=service,
            texts=BesideModels(service, vectors),
            adapters=service,
            replays=stays.enter_context(_replays(stack, store, service)),
            releases=registry,
            lineage=StackLineage(stack, registry, store),
            jobs=jobs,
            retriever=retriever,
            store=store,
            documents=retriever,
            keys=keys,
            metrics=metrics,
            settings=replace(_settings(stack), vectors=tuple(one.name for one in vectors)),
        )


def _service(stack: Stack, registry: ModelRegistry, metrics: CollectorRegistry) -> ServingService:
    from lamina.deployment.service import ServingService

    import_beside(*_LATER)  # while the library packs the weights, which needs no Python
    deployment = stack.deployment
    return ServingService(
        registry,
        device=deployment.device,
        max_sequences=deployment.max_sequences,
        cache_mb=deployment.cache_mb,
        cache=deployment.cache,
        context=deployment.context,
        max_wait=seconds(deployment.max_wait, where="deployment.max_wait"),
        speculate=deployment.speculate,
        ngrams=partial(ngrams_of, stack) if counts_ngrams(stack) else None,
        draft=find_drafts(stack, registry),
        deterministic=deployment.deterministic,
        quantize=deployment.quantize,
        # Adapters are the own engine's: where one of the two has to choose, they say which.
        engine="lamina" if deployment.engine == "auto" and deployment.adapters else deployment.engine,
        metrics=metrics,
        fitter=open_fitter(stack),
        adapters=adapter_limits(stack),
    )


@contextmanager
def _replays(stack: Stack, store: FeedbackStore, service: ServingService) -> Iterator[StackReplays]:
    def folders() -> list[Path]:
        return [*adapter_folders(stack), *(Path(adapter.source) for adapter in service.adapters())]

    passages = open_passages(stack)
    try:
        yield StackReplays(store, passages, service.held, folders)
    finally:
        if passages is not None:
            passages.close()


@contextmanager
def _retriever(stack: Stack, store: FeedbackStore) -> Iterator[StackRetriever]:
    from lamina.interface.grounding.passages import PassageIndex
    from lamina.interface.grounding.retriever import StackRetriever

    current = recall(stack)
    index = PassageIndex(stack.state / "passages" / current.passages) if current.passages else None
    try:
        yield StackRetriever(index, store)
    finally:
        if index is not None:
            index.close()


def _settings(stack: Stack) -> ApiSettings:
    from lamina.interface.api.ports import ApiSettings

    interface = stack.interface
    return ApiSettings(
        name=stack.name,
        grounding=interface.grounding,
        passages=interface.passages,
        system=interface.system,
        temperature=interface.temperature,
        host=interface.host,
        hosts=interface.hosts,
        examples=interface.examples,
        deterministic=stack.deployment.deterministic,
        caches_apart=stack.deployment.prefix_cache == "per key",
    )


@contextmanager
def open_keys(stack: Stack) -> Iterator[KeyRing]:
    """The stack's API keys."""
    from lamina.interface.keys import KeyRing

    with _database(stack) as database:
        yield KeyRing(database, stack.state / PEPPER)


@contextmanager
def _database(stack: Stack) -> Iterator[Database]:
    stack.state.mkdir(parents=True, exist_ok=True)
    database = Database.open(stack.database)
    try:
        yield database
    finally:
        database.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except socket.gaierror as error:
        raise ConfigError(f"'{host}' is no address of this machine", where="interface.host") from error
    except OSError as error:
        raise BusyError(
            f"the address {host}:{port} is in use ({error.strerror})",
            where="interface.port",
            hint=f"end the other server, or --set interface.port={port + 1}",
        ) from error
    return listener
