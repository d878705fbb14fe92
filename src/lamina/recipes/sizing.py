"""``[model] preset = "auto"``: this machine's speed, the corpus and the time decide how large a GPT is trained."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.config import seconds
from lamina.kit.durable import atomic_write
from lamina.kit.identity import blake3_hex
from lamina.kit.limits import processor_name, processors
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.kit.stages import Stage
from lamina.recipes.train_parameters import DEFAULT_BUDGET, set_threads
from lamina.recipes.train_section import TrainSection

if TYPE_CHECKING:
    import torch

    from lamina.model.spec import ModelSpec
    from lamina.model.train.scaling import Choice, Speed

FILE = "sizing.json"
_LENGTH = 256  # tokens of a row
_ROWS = 4  # of a measured step
_TOGETHER = 16  # rows of a micro-batch, at most
_SHARE = 0.05  # of the budget that measuring may take
_LONGEST_S = 60.0
_LEAST = 0.5  # of the budget is trained for, however long measuring took
_PROBED = ((64, 3), (128, 4), (256, 6))  # widths and layers


def sizing_stage(section: TrainSection, *, tokens: Path, tokenizer: Path, state: Path) -> Stage:
    """The stage that chooses; a run that resumes, and a state that moves to another machine, keep the choice."""
    return Stage(
        name="sizing",
        shelf="sizings",
        function="lamina.recipes.sizing:size",
        parameters={"budget_s": seconds(section.budget or DEFAULT_BUDGET, where="model.train.budget")},
        inputs={"tokens": tokens, "tokenizer": tokenizer},
        versions={"sizing": 1},
        context={"machines": str(state / "machines"), "device": section.device},
    )


@imports("lamina.model.train")
def size(staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress) -> None:
    """Writes ``sizing.json``: the shape, what is expected of it, and what the choice was made from."""
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.device import choose_device, memory_of
    from lamina.model.train.scaling import choose, shapes

    device = choose_device(parameters["context"]["device"], where="model.train.device")
    began = time.monotonic()
    tokenizer = open_tokenizer(inputs["tokenizer"])
    facts = json.loads((inputs["tokens"] / "summary.json").read_bytes())
    unique = int(facts["tokens"]) + int(facts.get("chat_tokens", 0))
    budget = float(parameters["budget_s"])
    speed = _speed(Path(parameters["context"]["machines"]), tokenizer.vocabulary, budget, device, progress)
    width = _bytes_per_token(inputs["tokens"], tokenizer)
    left = max(budget - (time.monotonic() - began), _LEAST * budget)
    choice = choose(
        shapes(tokenizer.vocabulary),
        seconds=left,
        speed=speed,
        unique_tokens=unique,
        bytes_per_token=width,
        memory=memory_of(device),
        length=_LENGTH,
    )
    found = asdict(choice) | {
        "budget_s": left,
        "parameters": choice.shape.parameters,
        "speed": asdict(speed),
        "unique_tokens": unique,
        "bytes_per_token": width,
    }
    atomic_write(staging / FILE, json.dumps(found, indent=1).encode())
    progress.say(in_words(choice, left, unique))


def in_words(choice: Choice, budget_s: float, unique: int) -> str:
    """The choice, for the reader."""
    shape, guess = choice.shape, "" if choice.known else ", far from what was measured"
    return (
        f"chosen for {budget_s / 60:.1f} minutes: {shape.layers} blocks of width {shape.width} "
        f"({shape.parameters / 1e6:.1f} M parameters), about {choice.tokens / 1e6:.1f} M tokens "
        f"({choice.tokens / max(1, unique):.1f} times the corpus), {choice.rows} rows of {choice.length} a step\n"
        f"expected: {choice.bits_per_byte:.2f} bits per byte ({choice.low:.2f} to {choice.high:.2f}{guess}; "
        "by the law of docs/log.md, fitted to runs on other English text)"
    )


def read_sizing(folder: Path) -> dict[str, Any]:
    """What the stage wrote."""
    return dict(json.loads((folder / FILE).read_bytes()))


def spec_of(folder: Path, vocabulary: int) -> ModelSpec:
    """The chosen specification."""
    from lamina.model.architectures.gpt import llama
    from lamina.model.train.scaling import Shape

    shape = Shape(**read_sizing(folder)["shape"])
    return llama(
        vocabulary=vocabulary,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        inner=shape.inner,
        max_positions=4 * _LENGTH,
    )


def sized(section: TrainSection, folder: Path | None) -> TrainSection:
    """``section`` with the batch, the rate and the time that were chosen, by the clock; a rate that is given stands."""
    if folder is None:
        return section
    found = read_sizing(folder)
    batch = min(found["rows"], _TOGETHER)
    return replace(
        section,
        batch=batch,
        accumulate=found["rows"] // batch,
        length=found["length"],
        learning_rate=section.learning_rate or found["learning_rate"],
        budget=f"{found['budget_s']:.1f}s",
        pace="clock",
    )


def _bytes_per_token(tokens: Path, tokenizer: Any) -> float:
    """Of the beginning of the corpus."""
    from lamina.data.shards import Shards

    shards = Shards(tokens / "documents")
    some = [int(i) for i in shards.stream[:20_000]]
    return max(1.0, len(tokenizer.decode(some).encode()) / max(1, len(some)))


def _speed(cache: Path, vocabulary: int, budget: float, device: torch.device, progress: Progress) -> Speed:
    """This machine's, measured once for each vocabulary and kept in ``cache``."""
    from lamina.model.train.scaling import Speed, fit_speed

    place = cache / f"{_machine(device)}-{vocabulary}.json"
    try:
        return Speed(**json.loads(place.read_bytes())["speed"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    progress.say("measuring how fast this machine trains")
    each = min(_LONGEST_S, _SHARE * budget) / len(_PROBED)
    measured = [_probe(width, layers, vocabulary, each, device) for width, layers in _PROBED]
    speed = fit_speed(measured)
    atomic_write(place, json.dumps({"speed": asdict(speed), "measured": measured}, indent=1).encode())
    return speed


def _machine(device: torch.device) -> str:
    """A fingerprint of what the speed depends on."""
    import torch

    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return blake3_hex("machine", processor_name(), str(processors()), card, torch.__version__)[:16]


def _probe(width: int, layers: int, vocabulary: int, longest: float, device: torch.device) -> tuple[float, float]:
    """(Parameters, tokens a second) of steps on noise; two at least, after one that warms up."""
    import torch

    from lamina.model.architectures.gpt import llama
    from lamina.model.train.loss import chunked_cross_entropy
    from lamina.model.train.plan import faster_precision
    from lamina.model.train.scaling import Shape
    from lamina.model.transformer import Transformer

    shape = Shape(width=width, layers=layers, vocabulary=vocabulary)
    model = Transformer(
        llama(
            vocabulary=vocabulary,
            width=width,
            layers=layers,
            heads=shape.heads,
            inner=shape.inner,
            max_positions=_LENGTH,
        )
    ).to(device)
    set_threads(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    low = faster_precision(model, _ROWS * _LENGTH) == "bfloat16"
    ids = torch.randint(vocabulary, (_ROWS, _LENGTH + 1), device=device)
    taken: list[float] = []
    began = time.monotonic()
    while len(taken) < 3 or time.monotonic() - began < longest:
        start = time.monotonic()
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            hidden = model(ids[:, :-1]).flatten(0, 1)
            loss = chunked_cross_entropy(hidden, model.stack.embeddings.token.weight, ids[:, 1:].flatten())
        torch.autograd.backward(loss / ids[:, 1:].numel())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())  # a GPU is waited for
        taken.append(time.monotonic() - start)
    middle = sorted(taken[1:])[(len(taken) - 1) // 2]
    return float(shape.parameters), _ROWS * _LENGTH / middle
