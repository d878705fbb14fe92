"""Training steps: `bench_train.py [gpt] [bert] [seq2seq] [lora] [share] [quality] [--quick] [--device cpu|cuda]`.

``--float32``: peers that compute in bfloat16 do it in float32, which is fairer where a processor has no bfloat16
products (ours takes what it measures to be faster in any case).

Each side is a process of its own that does its steps when it is told to, in turns, over the same texts: ours is the
trainer as it comes (packed rows, the precision that it measures to be fastest), the peers as ``train_peers.py`` says.
A rate counts real tokens, without padding; a step holds the same texts on all sides. The column "quality" gives first
losses. "share" is the rate of the GPT's step against its own matrix products run alone: the share of the matrix rate
that the step reaches. "quality" trains both sides for ``--seconds`` (see ``train_quality.py``); it runs when asked for.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import train_quality  # beside this file
import train_work
from machine import machine, versions_of
from sides import Side
from train_work import SHAPES

HERE = Path(__file__).resolve().parent
#: What each row's sides are called, and whose environment they run in.
PEERS = {
    "gpt": {
        "nanogpt": "nanoGPT as shipped",
        "plain": "nanoGPT's model, bf16 autocast, torch.compile",
        "trainer": "transformers Trainer, bf16",
        "litgpt": "litgpt, bf16-mixed, torch.compile",
    },
    "bert": {"trainer": "transformers Trainer, bf16, padded"},
    "seq2seq": {"trainer": "transformers Trainer, bf16, padded"},
    "lora": {"peft": "peft and transformers Trainer, bf16"},
    "share": {"products": "the step's own matrix products, run alone"},
}
_OWN_ENVIRONMENT = {"trainer": "peft", "peft": "peft", "litgpt": "litgpt"}
_SCRIPTS = {"litgpt": ["train_litgpt.py"], "products": ["train_products.py"]}
_WARM = {"cpu": 3, "cuda": 12}  # steps that are not counted; on a GPU all batches of the cycle are seen in them


def python_of(side: str) -> str:
    """The interpreter of a side's environment, or this one where the peer is installed beside us."""
    own = HERE.parent / ".bench" / _OWN_ENVIRONMENT.get(side, side) / "bin" / "python"
    return str(own) if side in _OWN_ENVIRONMENT and own.exists() else sys.executable


def command_of(side: str, work: str, rest: list[str]) -> list[str]:
    """How the process of a side is started."""
    script, *given = _SCRIPTS.get(side, ["train_peers.py", side])
    return [python_of(side), str(HERE / script), work, *given, *rest]


def versions(side: str) -> dict[str, str]:
    """What a side is compared with: ours, and the packages of its own environment."""
    own = [
        str(path) for path in (HERE.parent / ".bench" / _OWN_ENVIRONMENT.get(side, side) / "lib").glob("*/*-packages")
    ]
    found = {d.name.lower(): d.version for d in metadata.distributions(path=own or sys.path)}
    names = ("torch", "transformers", "peft", "litgpt") if side in _OWN_ENVIRONMENT else ("torch",)
    return versions_of("lamina", "torch") | {name: found[name] for name in names if name in found}


def row(work: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All peers of one kind of work, in turns with ours."""
    model = "gpt" if work == "share" else work
    shape = train_work.quick(SHAPES[model]) if arguments.quick else SHAPES[model]
    extra = ["quick"] if arguments.quick else []
    peers = {k: v for k, v in PEERS[work].items() if not arguments.peers or k in arguments.peers}
    commands = {"ours": [sys.executable, str(HERE / "train_ours.py"), model, arguments.device, *extra]}
    if arguments.float32:
        extra.append("float32")
        peers = {k: re.sub(r"bf16(-mixed| autocast)?", "float32", words) for k, words in peers.items()}
    commands |= {side: command_of(side, model, [arguments.device, *extra]) for side in peers}
    sides = {name: Side(command, arguments.threads) for name, command in commands.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    last: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    try:
        first = {}
        for name, side in sides.items():
            try:
                first[name] = side.turn(_WARM[arguments.device])["loss"]
            except (RuntimeError, BrokenPipeError) as error:
                failed[name] = str(error)
        if "ours" in failed:
            raise RuntimeError(f"our side of '{work}' does not run: {failed['ours']}")
        for _ in range(arguments.runs):
            for name, side in sides.items():
                if name not in failed:
                    last[name] = side.turn(arguments.steps)
                    times[name].append(last[name]["seconds"] / arguments.steps)
    finally:
        for side in sides.values():
            side.close()
    tokens = train_work.tokens_of(model, shape)
    told = {"work": f"{work}, {arguments.device}, {shape.layers} layers of {shape.width}, {tokens:,.0f} tokens a step"}
    found = []
    for name, words in peers.items():
        if name in failed:
            sys.stderr.write(f"{words}: {failed[name]}\n")
            continue
        ratios = [b / a for a, b in zip(times["ours"], times[name], strict=True)]
        memory = last["ours"]["mb"], last[name]["mb"]
        found.append(
            told
            | {
                "peer": words,
                "ours": tokens / statistics.median(times["ours"]),
                "theirs": tokens / statistics.median(times[name]),
                "ratio": statistics.median(ratios),
                "unit": "tokens/s",
                "runs": arguments.runs,
                "spread": f"{min(ratios):.2f}-{max(ratios):.2f}",
                "quality": f"first loss {first['ours']:.3f} against {first[name]:.3f}; "
                f"peak memory {memory[0]:,.0f} against {memory[1]:,.0f} MB"
                if work != "share"
                else "the ratio is the share of the matrix rate",
                "versions": versions(name),
                "machine": machine() + _on(arguments),
            }
        )
    return found


def _on(arguments: argparse.Namespace) -> str:
    """The card, or how many of the processor's cores are used."""
    if arguments.device == "cpu":
        return "" if arguments.threads is None else f"; {arguments.threads} threads"
    import torch

    return f", {torch.cuda.get_device_name()}"


def quality(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Bits per byte of both sides after the same time."""
    seconds, seeds = (20.0, 1) if arguments.quick else (arguments.seconds, arguments.seeds)
    return train_quality.rows(seconds=seconds, seeds=seeds, steps_from=arguments.steps_from)


def main() -> int:
    """Print a row for each peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=[])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--peers", nargs="*", default=[])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="in a turn")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--float32", action="store_true", help="peers compute in float32")
    parser.add_argument("--seconds", type=float, default=600.0, help="of quality")
    parser.add_argument("--seeds", type=int, default=3, help="of quality")
    parser.add_argument("--steps-from", type=Path, help="of quality: speeds of both sides, measured there at first")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - {*PEERS, "quality"}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; rows: {', '.join(PEERS)}, quality")
    for work in arguments.rows or PEERS:
        for found in quality(arguments) if work == "quality" else row(work, arguments):
            words = f"{found['work']}: {found['ratio']:.2f}x {found['peer']} ({found['spread']}), {found['ours']:,.4g}"
            line = json.dumps(found) if arguments.json else f"{words} {found['unit']}; {found['quality']}"
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
