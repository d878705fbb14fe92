"""Answering on a processor: `bench_engine.py [decode] [prefill] [concurrent] [prefix] [start] [--peers …] [--quick]`.

SmolLM2-135M-Instruct, greedy, in turns, pair by pair; each side is a process (`sides.py`). Ours is the whole engine, on
int8 weights against peers of 8 bits and more, on int4 ones (the blocks of the GGUF base, as they are) against 4 bits.

decode      one stream, tokens a second after the first, after a prompt of 128 and of 2,048 tokens
prefill     one prompt of 512 and of 2,048 tokens, tokens of it a second until the first of the answer
concurrent  16 prompts of 256 tokens at once, 128 tokens each: tokens of answers a second, waiting and prompts included
prefix      16 prompts at once that share their first 1,500 tokens (new ones each turn) and have 32 of their own: first
            tokens a second; peers may keep what prompts have in common
start       from the start of a process to the first token, files in the cache of the system: ours is `lamina serve`
            through its API, on a stack that it served before (what it measured and proved then is kept)

``quality``: nats per token of both on the same text; of peers that read a GGUF file, by our reader of it. ``--preset``:
a model of that shape with random weights instead, of which there are no Q4_1 files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from engine_peers import PEERS, gguf, open_side, version_of  # beside this file
from machine import ROOT, machine, shaped, smollm2, versions_of
from sides import Side, table
from start_server import Server, stack_of

HERE = Path(__file__).resolve().parent
TEXT = (
    "The sea was calm that morning, and the keeper climbed the stairs of the lighthouse as he had done every day for "
    "thirty years. From the gallery he could see the harbour, the fishing boats, and far away the grey line of the "
    "mainland. Nothing ever changed here, he thought, and that was how he liked it."
)
PATIENCE_S = 300.0  # for a turn: who takes longer is left out, and its row says so
OWN = 32  # tokens of a prompt that others do not share
#: Rows: prompts, their tokens, tokens of each answer.
WORK = {
    "decode": [("decode, 1 stream, context 128", 1, 128, 64), ("decode, 1 stream, context 2,048", 1, 2048, 64)],
    "prefill": [("prefill, 512 tokens", 1, 512, 2), ("prefill, 2,048 tokens", 1, 2048, 2)],
    "concurrent": [("16 requests at once, 256 in, 128 out", 16, 256, 128)],
    "prefix": [("16 requests at once that share 1,500 tokens", 16, 1532, 1)],
}


def served(bits: str, source: Path | None = None, preset: str | None = None) -> Path:
    """A folder as it is served, of SmolLM2, of what ``source`` holds or of a model of ``preset``."""
    place = ROOT / ".cache" / f"{preset or 'smollm2'}-{bits if source is None else source.stem}-served"
    if not (place / "config.json").is_file():
        from lamina.deployment.compress.quantize import save_served
        from lamina.model.checkpoint import open_model
        from lamina.model.gguf import import_gguf

        folder = smollm2() if preset is None else shaped(preset)
        if source is not None:
            folder = place.with_name(place.name + "-whole")
            import_gguf(source, folder)
        save_served(open_model(folder), place, like=folder, quantize=bits)  # type: ignore[arg-type]
    return place


def open_sides(names: list[str], streams: int, threads: int, preset: str | None = None) -> dict[str, Side]:
    """Ours in the forms that the peers need, and the peers."""
    found = {}
    for bits in dict.fromkeys(PEERS[name].ours for name in names):
        command = [sys.executable, str(HERE / "engine_ours.py"), str(served(bits, preset=preset)), str(streams)]
        found[bits] = Side(command, threads)
    return found | {name: open_side(name, streams, threads, preset) for name in names}


def prompts(count: int, length: int, turn: int) -> list[list[int]]:
    """Prompts that share no beginning, with each other or with an earlier turn's."""
    return [[100 + (7919 * (turn * count + i + 1) + 31 * k) % 40_000 for k in range(length)] for i in range(count)]


def asked(work: str, count: int, length: int, tokens: int, turn: int) -> dict[str, Any]:
    """What the sides are told."""
    made = prompts(count, length, turn)
    if work == "prefix":
        made = [made[0][: length - OWN] + prompt[length - OWN :] for prompt in made]
    return {"prompts": made, "tokens": tokens, "cache": work == "prefix"}


def rate(work: str, told: dict[str, float], count: int, length: int, tokens: int) -> float:
    """Tokens a second of what the row counts."""
    if work == "decode":
        return (tokens - 1) / told["answer_s"]
    return length / told["prompt_s"] if work == "prefill" else count * tokens / told["all_s"]


def start(names: list[str], runs: int, threads: int) -> list[dict[str, Any]]:
    """Seconds from the start of a process to its first token; the whole server of ours."""
    seconds: dict[str, list[float]] = {side: [] for side in (*dict.fromkeys(PEERS[n].ours for n in names), *names)}
    lost: dict[str, str] = {}
    for turn in range(runs + 1):
        for side in [side for side in seconds if side not in lost]:
            stack = stack_of(served(side)) if side in ("int8", "int4") else None
            begun = time.perf_counter()
            process = open_side(side, 1, threads) if stack is None else Server(stack, threads)
            try:
                if isinstance(process, Server):
                    first_token(process.url())
                else:
                    process.turn({"prompts": prompts(1, 32, turn), "tokens": 1}, patience_s=PATIENCE_S)
                if turn:  # the first brings the files into the cache
                    seconds[side].append(time.perf_counter() - begun)
            except RuntimeError as error:
                if side not in PEERS:
                    raise
                lost[side] = str(error)
            finally:
                process.close()
    found = []
    for name in names:
        bits = PEERS[name].ours
        if name in lost:
            found.append(not_run("start to the first token", name, lost[name], threads))
            continue
        ratios = [b / a for a, b in zip(seconds[bits], seconds[name], strict=True)]
        found.append(
            row("start to the first token", name, seconds[bits], seconds[name], ratios, "s")
            | {"quality": f"ours {bits}, with the API", "machine": f"{machine()}; {threads} threads"}
        )
    return found


def first_token(url: str) -> None:
    """Ask for one token, and wait for it."""
    from lamina.deployment.load.client import Asked, Target
    from lamina.deployment.load.generator import open_loop
    from lamina.deployment.load.work import CHAT, streamed

    body = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 1, "ignore_eos": True}
    (outcome,) = asyncio.run(open_loop(Target(url), [Asked(CHAT, streamed(body))], [0.0], timeout_s=60.0, most=1))
    assert outcome.error is None, outcome.error


def row(work: str, name: str, ours: list[float], theirs: list[float], ratios: list[float], unit: str) -> dict[str, Any]:
    """The figures of a row."""
    return {
        "work": work,
        "peer": PEERS[name].words,
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "unit": unit,
        "runs": len(ratios),
        "spread": f"{min(ratios):.2f}-{max(ratios):.2f}",
        "versions": versions_of("lamina", "torch") | version_of(PEERS[name]),
    }


def rows(work: str, names: list[str], runs: int, threads: int, preset: str | None = None) -> list[dict[str, Any]]:
    """All rows of one kind of work."""
    streams = max(count for _, count, _, _ in WORK[work])
    names = [name for name in names if streams == 1 or not PEERS[name].alone]
    sides = open_sides(names, streams, threads, preset)
    try:
        lost: dict[str, str] = {}
        nats = {} if preset else nats_of(sides, names, lost)
        found = []
        for words, count, length, tokens in WORK[work]:
            rates: dict[str, list[float]] = {side: [] for side in sides}
            for turn in range(runs + 1):
                for side in [side for side in sides if side not in lost]:
                    told = told_by(sides, side, asked(work, count, length, tokens, turn), lost)
                    if turn and told is not None:  # the first is not counted
                        rates[side].append(rate(work, told, count, length, tokens))
            for name in names:
                bits = PEERS[name].ours
                if name in lost:
                    found.append(not_run(f"{preset}, {words}" if preset else words, name, lost[name], threads))
                    continue
                ratios = [a / b for a, b in zip(rates[bits], rates[name], strict=True)]
                quality = f"ours {bits}; random weights"
                if nats:
                    quality = f"ours {bits}; {nats[bits]:.3f} against {nats[name]:.3f} nats per token"
                found.append(
                    row(f"{preset}, {words}" if preset else words, name, rates[bits], rates[name], ratios, "tokens/s")
                    | {"quality": quality, "machine": f"{machine()}; {threads} threads"}
                )
        return found
    finally:
        for process in sides.values():
            process.close()


def told_by(sides: dict[str, Side], side: str, question: dict[str, Any], lost: dict[str, str]) -> dict[str, Any] | None:
    """What a side answers; None of a peer that does not, which is ``lost`` then. Ours must."""
    try:
        return sides[side].turn(question, patience_s=PATIENCE_S)
    except RuntimeError as error:
        if side not in PEERS:
            raise
        lost[side] = str(error)
        return None


def not_run(work: str, name: str, reason: str, threads: int) -> dict[str, Any]:
    """The row of a peer that could not be run."""
    return {
        **{"work": work, "peer": PEERS[name].words, "ours": None, "theirs": "could not be run", "ratio": None},
        **{"unit": "", "runs": 0, "spread": "-", "quality": reason},
        **{"versions": versions_of("lamina") | version_of(PEERS[name]), "machine": f"{machine()}; {threads} threads"},
    }


def nats_of(sides: dict[str, Side], names: list[str], lost: dict[str, str]) -> dict[str, float]:
    """Nats per token of each side on the same text; peers that do not tell them are ``lost``."""
    import torch
    from torch.nn import functional as F

    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model
    from lamina.model.gguf import import_gguf

    ids = open_tokenizer(smollm2()).encode(TEXT)
    found: dict[str, float] = {}
    for side in sides:
        if side not in names or PEERS[side].told:
            told = told_by(sides, side, {"text": list(ids)}, lost)
            if told is not None:
                found[side] = told["nats"]
            continue
        kind = PEERS[side].weights or ""
        folder = ROOT / ".cache" / f"smollm2-{kind}-whole"
        if not (folder / "config.json").is_file():
            import_gguf(gguf(kind), folder)
        whole = open_model(folder).eval()
        with torch.inference_mode():
            scores = whole.logits(whole(torch.tensor([ids])))[0]
        found[side] = float(F.cross_entropy(scores[:-1], torch.tensor(ids[1:])))
    return found


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=[*WORK, "start"])
    parser.add_argument("--peers", nargs="*", default=list(PEERS))
    parser.add_argument("--preset", help="a model of this shape")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if set(arguments.rows) - {*WORK, "start"} or set(arguments.peers) - set(PEERS):
        parser.error(f"known rows: {', '.join(WORK)}, start; peers: {', '.join(PEERS)}")
    if arguments.preset:
        arguments.rows = [work for work in arguments.rows if work != "start"]
        arguments.peers = [name for name in arguments.peers if PEERS[name].weights != "base"]
        if not (arguments.rows and arguments.peers):
            parser.error("of another shape there is no start, and there are no Q4_1 files")
    runs = 2 if arguments.quick else arguments.runs
    for work in arguments.rows:
        if work == "start":
            found = start(arguments.peers, runs, arguments.threads)
        else:
            found = rows(work, arguments.peers, runs, arguments.threads, arguments.preset)
        text = "\n".join(map(json.dumps, found)) if arguments.json else table(found)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
