"""``lamina replay``: a stored answer is made again by the same version, adapter, prompt, settings and seed.

The prompt is built anew from what was stored (messages, and the passages by their documents) and compared by its hash,
so that nothing is compared that was not asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.contracts.chat import Tool
from lamina.contracts.feedback import Interaction
from lamina.contracts.inference import Chunk, Constraint, Passage, Request, SamplingParams
from lamina.contracts.replay import Replayed
from lamina.kit.database import Database
from lamina.kit.errors import NotFoundError
from lamina.kit.identity import new_id
from lamina.recipes.current import recall
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from lamina.deployment.engine.adapters import EngineAdapter
    from lamina.deployment.loaded import Loaded
    from lamina.interface.grounding.passages import PassageIndex
    from lamina.interface.store import FeedbackStore

Hold = Callable[[str], AbstractContextManager["Loaded"]]


class StackReplays:
    """``contracts.replay.Replays`` over a stack's store. ``hold`` has a version in memory; ``folders``: adapters that
    may be the one that answered."""

    def __init__(
        self, store: FeedbackStore, passages: PassageIndex | None, hold: Hold, folders: Callable[[], Sequence[Path]]
    ) -> None:
        self._store, self._passages, self._hold, self._folders = store, passages, hold, folders

    async def replay(self, id: str) -> Replayed:
        """Answer the request of the answer ``id`` again, and compare token by token."""
        interaction = await asyncio.to_thread(self._store.interaction, id)
        if interaction is None:
            raise NotFoundError("there is no answer of this id")
        made = json.loads(interaction.made or "null")
        if not isinstance(made, dict):
            raise NotFoundError(
                "what this answer was made with was not kept",
                hint="it was recited, stopped before its end, or stored by an earlier version of Lamina",
            )
        async with self._held(interaction.version) as loaded:
            adapter = await asyncio.to_thread(self._adapter, made["adapter"], loaded)
            request = await asyncio.to_thread(self._request, interaction, made, loaded)
            chunks = [chunk async for chunk in _answer(loaded, request, adapter)]
        return _compared(interaction, made, chunks)

    @asynccontextmanager
    async def _held(self, version: str) -> AsyncIterator[Loaded]:
        held = self._hold(version)
        loaded = await asyncio.to_thread(held.__enter__)
        try:
            yield loaded
        finally:
            await asyncio.to_thread(held.__exit__, None, None, None)

    def _adapter(self, key: str, loaded: Loaded) -> EngineAdapter | None:
        """The adapter that answered, found by the digest of its files."""
        from lamina.deployment.engine.adapters import fuse_adapter
        from lamina.model.adapters import digest_of, read_adapter

        if not key:
            return None
        name, _, digest = key.rpartition("@")
        runner = loaded.own.runner
        for folder in self._folders():
            if digest_of(folder) == digest:
                adapter = read_adapter(folder, runner.model.spec)
                return fuse_adapter(adapter, runner.model.spec.stack, name=name, device=runner.device)
        raise NotFoundError(f"the adapter '{name}' of this answer is not there any more, or its files are others")

    def _request(self, interaction: Interaction, made: Mapping[str, Any], loaded: Loaded) -> Request:
        """What was asked then. Raises ``NotFoundError`` where its prompt cannot be built any more."""
        from lamina.deployment.loaded import prompt_ids

        parameters = json.loads(interaction.parameters)
        for request in self._requests(interaction, made, _sampling(parameters, int(made["seed"])), parameters):
            ids = prompt_ids(loaded.tokenizer, request)
            if hashlib.sha256(array("q", ids).tobytes()).hexdigest() == made["prompt"]:
                return request
        raise NotFoundError(
            "the prompt of this answer cannot be built again",
            hint="its sources, or the template that puts them together, are not what they were",
        )

    def _requests(
        self,
        interaction: Interaction,
        made: Mapping[str, Any],
        sampling: SamplingParams,
        parameters: Mapping[str, Any],
    ) -> Iterator[Request]:
        """What it may have been: a prompt is stored as text, whether it was text or ids."""
        id = new_id("replay")
        if parameters.get("route") == "completions":
            text = interaction.messages[0].content
            yield Request(id=id, prompt=text, sampling=sampling)
            if text.replace(" ", "").isdecimal():
                yield Request(id=id, prompt=tuple(map(int, text.split())), sampling=sampling)
            return
        tools = tuple(Tool(name, definition) for name, definition in made.get("tools", ()))
        given = {name: made[name] for name in ("tool_choice", "parallel_tool_calls") if name in made}
        messages = interaction.messages
        if interaction.grounding == "weights + documents":
            from lamina.interface.api.ports import ApiSettings
            from lamina.interface.grounding.context import with_passages, within, without_opening

            passages = within([self._passage(*told) for told in made.get("passages", ())], ApiSettings().context_chars)
            messages = with_passages(tuple(without_opening(m) for m in messages), passages)
        yield Request(id=id, messages=messages, sampling=sampling, tools=tools, **given)

    def _passage(self, kind: str, id: str, start: int) -> Passage:
        from lamina.interface.grounding.corrections import last_question

        found: Passage | None = None
        if kind == "document" and self._passages is not None:
            found = self._passages.passage(id, start)
        elif kind == "correction" and (feedback := self._store.feedback(id)) is not None:
            target = self._store.interaction(feedback.target)
            question = last_question(target.messages) if target else ""
            text = json.loads(feedback.value) or ""
            found = Passage(kind="correction", document_id=id, text=text, score=1.0, question=question)
        if found is None:
            raise NotFoundError(f"a source of this answer ({kind} {id[:24]}) is not there any more")
        return found


async def _answer(loaded: Loaded, request: Request, adapter: EngineAdapter | None) -> AsyncIterator[Chunk]:
    from lamina.deployment.streaming import answer

    async with aclosing(answer(loaded.engine, loaded.tokenizer, request, adapter)) as chunks:
        async for chunk in chunks:
            yield chunk


def _sampling(parameters: Mapping[str, Any], seed: int) -> SamplingParams:
    """The stored settings, with the seed that was drawn where none was given."""
    known = {field.name for field in fields(SamplingParams)}
    given = {name: value for name, value in parameters.items() if name in known}
    given["stop"] = tuple(given.get("stop", ()))
    given["logit_bias"] = tuple((int(token), float(bias)) for token, bias in given.get("logit_bias", ()))
    given["constraint"] = Constraint(**given["constraint"]) if given.get("constraint") else None
    return SamplingParams(**given | {"seed": seed})


def _compared(interaction: Interaction, made: Mapping[str, Any], chunks: Sequence[Chunk]) -> Replayed:
    stored, now = made["tokens"], [token for chunk in chunks for token in chunk.tokens]
    if interaction.finish_reason in ("abort", "deadline"):  # a time cut it, as it would not again
        now = now[: len(stored)]
    same = next((n for n, (a, b) in enumerate(zip(stored, now, strict=False)) if a != b), min(len(stored), len(now)))
    last = chunks[-1].made
    kernels = made["kernels"], last.kernels if last else ""
    differs = None if stored == now else same
    deterministic = bool(made["deterministic"]), bool(last and last.deterministic)
    return Replayed(
        id=interaction.id,
        version=interaction.version,
        adapter=made["adapter"].partition("@")[0],
        differs=differs,
        stored_tokens=stored,
        tokens=now,
        text="".join(chunk.text for chunk in chunks),
        finish_reason=str(chunks[-1].finish_reason),
        kernels=kernels,
        reasons=() if differs is None else _reasons(kernels, deterministic),
    )


def _reasons(kernels: tuple[str, str], deterministic: tuple[bool, bool]) -> tuple[str, ...]:
    """Why it may differ. The files of the version are none of it: every byte of them is checked when it is opened."""
    found = []
    if kernels[0] != kernels[1]:
        found.append(f"then it was computed by {kernels[0]}, now by {kernels[1]}")
    for when, bits in zip(("then", "now"), deterministic, strict=True):
        if not bits:
            found.append(f"{when} without [deployment] deterministic: what else is answered may change the bits")
    return tuple(found) or ("none is known: the same kernels, deterministic both times; please report it",)


def replay(stack: Stack, id: str) -> Replayed:
    """The answer ``id`` again, by a model that is opened for it."""
    from lamina.deployment.loaded import load_version, unload
    from lamina.deployment.registry import ModelRegistry
    from lamina.interface.store import FeedbackStore

    database = Database.open(stack.database)
    passages = open_passages(stack)
    try:
        registry = ModelRegistry(database, stack.state / "models")
        deployment = stack.deployment
        options = {"context": deployment.context, "deterministic": deployment.deterministic, "max_sequences": 1}

        @contextmanager
        def opened(version: str) -> Iterator[Loaded]:
            loaded = load_version(registry, registry.resolve(version), options, device=deployment.device)
            try:
                yield loaded
            finally:
                unload(loaded)

        replays = StackReplays(FeedbackStore(database), passages, opened, lambda: adapter_folders(stack))
        return asyncio.run(replays.replay(id))
    finally:
        if passages is not None:
            passages.close()
        database.close()


def adapter_folders(stack: Stack) -> list[Path]:
    """Where the stack file has adapters."""
    return [stack.folder / folder for folder in stack.deployment.adapters.values()]


def open_passages(stack: Stack) -> PassageIndex | None:
    """The index that the server looks into; None where there is none."""
    from lamina.interface.grounding.passages import PassageIndex

    try:
        current = recall(stack)
    except NotFoundError:
        return None
    return PassageIndex(stack.state / "passages" / current.passages) if current.passages else None


def described(replayed: Replayed, *, as_json: bool) -> Any:
    """For people: what came of it; for machines: all of it."""
    if as_json:
        told = {field.name: getattr(replayed, field.name) for field in fields(replayed)}
        return {"identical": replayed.identical, **told}
    by = f"{replayed.version}{f' with {replayed.adapter}' if replayed.adapter else ''}, {replayed.kernels[1]}"
    if replayed.identical:
        return f"{replayed.id}: identical, {len(replayed.tokens)} tokens ({by})"
    lines = [f"{replayed.id}: differs from token {replayed.differs} on, of {len(replayed.stored_tokens)} ({by})"]
    return "\n".join([*lines, *(f"  {reason}" for reason in replayed.reasons)])
