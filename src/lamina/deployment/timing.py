"""How fast a served model answers one stream on this machine, and what share of the memory's bandwidth that is."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.compress.quantize import open_served
from lamina.deployment.engine.engine import Engine
from lamina.deployment.loaded import placed
from lamina.kit.errors import LaminaError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.device import Device, choose_device, read_rate
from lamina.model.transformer import Transformer, table_name

PROMPT = 256  # tokens that are read before the first one is written
_CONTEXT, _WRITTEN = 128, 48  # tokens before those whose time is taken, and how many of these
_ASKED = 3  # times that a prompt is read in a round
_STEP = 7919  # between the ids of a made-up prompt: a prime, so that no two prompts begin alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds to the first token of an answer to ``PROMPT`` tokens, and between tokens; bytes of weights that a token
    reads; bytes a second that this machine reads from its memory."""

    ttft: float
    itl: float
    bytes_per_token: float
    read_rate: float

    @property
    def bandwidth_share(self) -> float:
        """Of the memory's bandwidth, that weights alone are read with while tokens are written."""
        return self.bytes_per_token / self.itl / self.read_rate


def time_served(folder: Path, *, device: Device = "auto", seed: int = 0) -> Timing:
    """The times of one stream through an engine of its own, without speculation; ``seed`` makes other prompts.

    Raises ``LaminaError`` where the model does not answer.
    """
    target = choose_device(device, where="deployment.device")
    model, tokenizer = placed(open_served(folder), target), open_tokenizer(folder)
    read, vocabulary = weight_bytes(model), model.spec.stack.embeddings.vocabulary
    rate = read_rate(target)
    engine = Engine(model, tokenizer, version="timing", speculate=False, sole=True)
    try:
        whole, short = min(PROMPT, engine.context // 2), min(_CONTEXT, engine.context // 4)
        written = min(_WRITTEN, engine.context // 4)
        firsts, gaps = [], []
        for number in range(_ASKED + 1):
            first, _ = _ask(engine, _prompt(whole, seed * 100 + number, vocabulary), 1)
            last, gap = _ask(engine, _prompt(short, seed * 100 + 50 + number, vocabulary), written)
            firsts.append(first)
            gaps.append((gap - last) / (written - 1))
        ttft, itl = statistics.median(firsts[1:]), statistics.median(gaps[1:])  # the first of each warms up
        return Timing(ttft=ttft, itl=itl, bytes_per_token=read, read_rate=rate)
    finally:
        engine.close()


def medians(rounds: Sequence[Timing]) -> Timing:
    """Of each figure by itself."""
    return Timing(**{f.name: statistics.median(getattr(r, f.name) for r in rounds) for f in fields(Timing)})


def weight_bytes(model: Transformer) -> int:
    """Bytes that are read for a token: all weights but tables of which only a row is."""
    tied = model.spec.head is not None and model.spec.head.tied
    table = table_name(model.spec).rpartition(".")[0]
    total, seen = 0, set()
    for name, tensor in model.state_dict().items():
        row_alone = ".embeddings." in name and not (tied and name.startswith(table))
        if not row_alone and tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            total += tensor.nbytes
    return total


def _prompt(count: int, seed: int, vocabulary: int) -> list[int]:
    return [(seed + n * _STEP) % vocabulary for n in range(1, count + 1)]


def _ask(engine: Engine, prompt: list[int], count: int) -> tuple[float, float]:
    """Seconds until the first and until the last of ``count`` tokens."""
    done = threading.Event()
    times: list[float] = []
    failures: list[LaminaError] = []

    def receive(item: Chunk | LaminaError) -> None:
        times.append(time.perf_counter() - began)
        if isinstance(item, LaminaError):
            failures.append(item)
        if isinstance(item, LaminaError) or item.finish_reason is not None:
            done.set()

    sampling = SamplingParams(temperature=0.0, max_tokens=count, ignore_eos=True)
    began = time.perf_counter()
    engine.submit(f"timing-{began}", prompt, sampling, receive)
    if not done.wait(300):
        raise LaminaError("the model did not answer within 300 s")
    if failures:
        raise failures[0]
    return times[0], times[-1]
