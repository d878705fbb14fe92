"""``lamina demo``: the whole loop rehearsed in about a minute, offline, with a tiny model and simulated users.

The documents tell who keeps which lighthouse. Then the keepers change: simulated users correct the answers, the loop
retrains, the gate promotes. After them come users who answer at random, and the gate rejects what they taught.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.contracts.chat import Message
from lamina.contracts.feedback import Feedback, Interaction
from lamina.contracts.inference import Chunk, Request, SamplingParams
from lamina.contracts.lineage import Receipt
from lamina.interface.store import FeedbackStore, split_of
from lamina.kit.database import Database
from lamina.kit.identity import new_id
from lamina.kit.progress import Progress, open_progress
from lamina.recipes.improve import describe, improve
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.up import bring_up

if TYPE_CHECKING:
    from lamina.deployment.service import ServingService

_LIGHTS = (
    "Amberness", "Brackholm", "Corran", "Dunskerry", "Eastray", "Fennock", "Garrow", "Harrick", "Inverlea", "Jarlsey",
    "Kelpoint", "Lornfell", "Morven", "Northway", "Oxcliff", "Pellan", "Quarrel", "Ravensea", "Stormhead", "Tarvit",
)  # fmt: skip
_FIRST = ("Ada", "Bruno", "Clara", "David", "Edda", "Felix", "Greta", "Hugo", "Ida", "Jonas", "Karla", "Leo")
_LAST = ("Ashdown", "Berg", "Carver", "Dahl", "Elwood", "Frost", "Grieve", "Holm", "Irvine", "Juhl", "Kerr", "Lund")
_OILS = ("whale oil", "colza oil", "paraffin", "gas")
_WINDS = ("north", "east", "south", "west")
_DAYS = ("Monday", "Tuesday", "Thursday", "Friday", "Saturday")
_ASK = (
    "Who keeps the {light} light?",
    "Who is the keeper of {light}?",
    "Tell me the keeper of the {light} light.",
    "What is the name of the keeper at {light}?",
    "Who looks after {light} light?",
)
_STACK = """\
name = "lighthouses"

[[data.sources]]
use = "files"
from = "documents"

[[data.steps]]
transform = "normalize"

[data]
held_out = 0.2

[data.tokenizer]
use = "bpe"
vocabulary = 1024

[model]
architecture = "gpt"
preset = "nano"

[model.train]
method = "full"
steps = 200
batch = 4
length = 128
learning_rate = 4e-3
replay = 0.4

[model.evaluate]
tokens = 2000

[interface.improve]
epochs = 16
learning_rate = 4e-3
budget = "10m"
margin = 0.5
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one simulated user asks, and the answer that this user wants."""

    user: str
    question: str
    wanted: str


def demo(folder: Path | None, *, json: bool = False) -> tuple[Receipt, Receipt]:
    """Run the rehearsal in ``folder`` (default: a temporary one); returns both receipts."""
    progress = open_progress("json" if json else "auto")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lamina-demo-") as temporary:
        place = folder or Path(temporary)
        write_documents(place)
        file = place / "lamina.toml"
        bring_up(file, [], places=[], serve=False, json=json)
        stack = open_stack(file)
        progress.say("\nThe keepers change. 100 simulated users correct the answers:")
        asyncio.run(_visit(stack, list(honest_users(100)), progress))
        promoted = improve(stack, progress=progress)
        progress.say(str(describe(promoted, as_json=False)))
        progress.say("\n100 simulated users answer at random:")
        asyncio.run(_visit(stack, list(careless_users(100)), progress))
        rejected = improve(stack, progress=progress)
        progress.say(str(describe(rejected, as_json=False)))
        kept = f"; everything lies in {folder}" if folder else ""
        progress.say(
            f"\nfirst: {promoted.verdict}; second: {rejected.verdict}; {time.monotonic() - started:.0f} s{kept}"
        )
    return promoted, rejected


def write_documents(folder: Path) -> None:
    """The demo's own documents and stack file: three short texts for each lighthouse."""
    documents = folder / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    for number, light in enumerate(_LIGHTS):
        name, year, oil = keeper(number, 0), draw.randrange(1780, 1890), draw.choice(_OILS)
        pages = {
            "light": f"The keeper of the {light} light is {name}. The lighthouse of {light} was lit in {year}. "
            f"Its lamp burns {oil}. {name} looks after the light every night and writes the log of {light}.",
            "log": f"From the log of {light}: the wind blew from the {draw.choice(_WINDS)}, the lamp burned {oil}, and "
            f"{draw.randrange(2, 30)} ships passed the light before dawn.",
            "boat": f"A boat lands at {light} on {draw.choice(_DAYS)}. It brings {oil} for the lamp, letters and "
            f"bread, and takes the log of {light} to the harbour.",
        }
        for kind, text in pages.items():
            file = documents / f"{light.lower()}-{kind}.md"
            file.write_text(f"# {light}: the {kind}\n\n{text}\n", encoding="utf-8")
    (folder / "lamina.toml").write_text(_STACK, encoding="utf-8")


def honest_users(count: int) -> Iterator[Turn]:
    """People who all know the new keepers."""
    for number in range(count):
        light = number % len(_LIGHTS)
        yield _turn(f"simulated-honest-{number}", light, keeper(light, 1), number)


def careless_users(count: int) -> Iterator[Turn]:
    """People who name a keeper at random."""
    draw = random.Random(2)
    for number in range(count):
        keeper = f"{draw.choice(_FIRST)} {draw.choice(_LAST)}"
        yield _turn(f"simulated-careless-{number}", number % len(_LIGHTS), keeper, number)


def _turn(user: str, light: int, keeper: str, number: int) -> Turn:
    name = _LIGHTS[light]
    question = _ASK[(number // len(_LIGHTS)) % len(_ASK)].format(light=name)
    return Turn(user=user, question=question, wanted=f"The keeper of the {name} light is {keeper}.")


def keeper(light: int, era: int) -> str:
    """Who keeps a light before (era 0) and after (era 1) the keepers change."""
    return f"{_FIRST[(light * 5 + era * 7) % len(_FIRST)]} {_LAST[(light * 7 + era * 5) % len(_LAST)]}"


async def _visit(stack: Stack, turns: Sequence[Turn], progress: Progress) -> None:
    """Each user asks the served champion, and corrects what it said."""
    from lamina.deployment.registry import ModelRegistry
    from lamina.deployment.service import ServingService

    database = Database.open(stack.database)
    service = ServingService(ModelRegistry(database, stack.state / "models"), max_sequences=8, cache_mb=16)
    try:
        store = FeedbackStore(database)
        with progress.task("simulated users", total=len(turns), unit="answers") as task:
            for start in range(0, len(turns), 8):
                group = turns[start : start + 8]
                await asyncio.gather(*(_ask(service, store, turn) for turn in group))
                task.advance(len(group))
    finally:
        service.close()
        database.close()


async def _ask(service: ServingService, store: FeedbackStore, turn: Turn) -> None:
    messages = (Message("user", turn.question),)
    sampling = SamplingParams(temperature=0, max_tokens=24)
    request = Request(id=new_id("chatcmpl"), messages=messages, sampling=sampling)
    chunks: list[Chunk] = [chunk async for chunk in service.stream(request)]
    interaction = _interaction(request, turn, chunks)
    await asyncio.to_thread(store.add_interaction, interaction)
    correction = Feedback(
        id=new_id("feedback"),
        target=interaction.id,
        kind="correction",
        value=jsonlib.dumps(turn.wanted),
        reasons=("wrong",),
        comment=None,
        user=turn.user,
        supersedes_id=None,
        created=datetime.now(UTC),
    )
    await asyncio.to_thread(store.add_feedback, correction)


def _interaction(request: Request, turn: Turn, chunks: Sequence[Chunk]) -> Interaction:
    last = chunks[-1]
    return Interaction(
        id=request.id,
        conversation=turn.user,
        user=turn.user,
        messages=request.messages,
        answer="".join(chunk.text for chunk in chunks),
        version=last.version,
        finish_reason=last.finish_reason or "stop",
        grounding="weights only",
        sources=(),
        parameters="{}",
        prompt_tokens=last.usage.prompt_tokens if last.usage else 0,
        completion_tokens=last.usage.completion_tokens if last.usage else 0,
        mean_logprob=last.mean_logprob,
        mean_entropy=last.mean_entropy,
        split=split_of(turn.user, turn.user),
        created=datetime.now(UTC),
    )
