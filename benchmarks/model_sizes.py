"""What each preset takes on this machine: `model_sizes.py [PRESET…] [--steps N] [--most MILLIONS] [--lora]`.

Prints the table of docs/choosing-a-model.md: parameters, and measured on fresh weights the memory that training takes,
minutes for a million training tokens, and tokens a second that the engine writes (int8, one conversation). Both are of
one core's time: what the process used of all cores, so that other work on the machine counts for little; with more
cores it is faster, at best as many times. Each preset is a process of its own. Weights are random: speed and memory do
not depend on what they say.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from machine import machine, versions_of

HERE = Path(__file__).resolve().parent
_ROWS, _LENGTH = 4, 256  # of a step
_WRITTEN = 48  # tokens
_PROMPT = 64
_WARM = 1  # steps that are not counted
_QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}  # a thread that waits uses no core


class Clock:
    """An observer of training that notes the process' time on all cores after each step."""

    needs_model = False

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def begin(self, *given: Any) -> None:
        """The first step begins."""
        self.stamps.append(time.process_time())

    def see(self, facts: Any) -> dict[str, str]:
        """A step is done."""
        self.stamps.append(time.process_time())
        return {}

    def close(self, *, well: bool) -> None:
        """Nothing is held open."""


def trained(name: str, method: str, steps: int) -> dict[str, Any]:
    """Tokens a second and MB of training."""
    import resource

    import torch
    import train_ours
    from train_work import Shape, tokens_of

    from lamina.kit.log import MetricsWriter
    from lamina.kit.progress import open_progress
    from lamina.model.architectures.presets import architecture_of, preset
    from lamina.model.train import TrainParameters, train
    from lamina.model.transformer import Transformer
    from lamina.recipes.train_parameters import set_threads

    torch.manual_seed(0)
    model = Transformer(preset(name))
    set_threads(model)
    kind = architecture_of(model.spec)
    shape = Shape(vocabulary=model.spec.stack.embeddings.vocabulary, rows=_ROWS, length=_LENGTH)
    if kind == "seq2seq":  # a row holds a source and a target
        shape = Shape(vocabulary=shape.vocabulary, rows=2 * _ROWS, length=_LENGTH // 2)
    batches = {"gpt": train_ours.gpt_batches, "bert": train_ours.bert_batches, "seq2seq": train_ours.seq2seq_batches}
    parameters = TrainParameters(
        steps=steps + _WARM, method=method, rank=16, alpha=32.0, learning_rate=1e-4, checkpoint_s=None
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as work:
        metrics = Path(work) / "metrics.jsonl"
        train(
            model,
            train_ours.Cycle(batches[kind](shape)),
            parameters=parameters,
            work=Path(work),
            progress=open_progress("quiet"),
            metrics=MetricsWriter(metrics),
            observers=[clock],
        )
    seconds = sorted(after - before for before, after in pairwise(clock.stamps[_WARM:]))
    return {
        "tokens_per_s": tokens_of(kind, shape) / seconds[0],  # what else runs can only lengthen it
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def written(name: str) -> dict[str, Any]:
    """Tokens a second of the engine, and MB of its process; nothing where the engine does not serve the form."""
    import resource

    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from lamina.contracts.inference import Chunk, SamplingParams
    from lamina.deployment.compress.quantize import open_served, save_served
    from lamina.deployment.engine.engine import Engine
    from lamina.kit.errors import LaminaError
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.architectures.presets import architecture_of, preset
    from lamina.model.checkpoint import open_model, save_model
    from lamina.model.transformer import Transformer

    spec = preset(name)
    if architecture_of(spec) != "gpt":
        return {}
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        save_model(Transformer(spec), folder)
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        words = [*alphabet, *(f"<{n}>" for n in range(spec.stack.embeddings.vocabulary - len(alphabet)))]
        tokenizer = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=[]))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
        tokenizer.save(str(folder / "tokenizer.json"))
        save_served(open_model(folder), folder.parent / "int8", like=folder, quantize="int8")
        engine = Engine(open_served(folder.parent / "int8"), open_tokenizer(folder), version="sizes", max_sequences=1)
        stamps: list[float] = []
        done = threading.Event()

        def receive(item: Chunk | LaminaError) -> None:
            stamps.append(time.process_time())
            if isinstance(item, LaminaError) or item.finish_reason:
                done.set()

        for number in range(2):  # the first warms up
            stamps.clear()
            done.clear()
            ids = list(range(_PROMPT))
            engine.submit(f"r{number}", ids, SamplingParams(temperature=0.0, max_tokens=_WRITTEN), receive)
            done.wait()
    rate = (len(stamps) - 1) / (stamps[-1] - stamps[0])
    return {"written_per_s": rate, "served_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def measure(name: str, method: str, steps: int) -> dict[str, Any]:
    """Both, each in a process of its own."""
    found: dict[str, Any] = {"preset": name, "method": method}
    for what in ("trained", "written"):
        command = [sys.executable, __file__, "--part", what, name, "--steps", str(steps)]
        command += ["--lora"] if method == "lora" else []
        said = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **_QUIET})
        if said.returncode and what == "trained":
            found["why"] = said.stderr.strip().splitlines()[-1] if said.stderr.strip() else f"exit {said.returncode}"
            break
        if said.returncode:  # the other half stands
            sys.stderr.write(f"{name}: not served: {said.stderr[-400:]}\n")
            break
        found |= json.loads(said.stdout.splitlines()[-1])
    return found


def row(found: dict[str, Any]) -> str:
    """A line of the table."""
    if "why" in found:
        return f"| `{found['preset']}` | {found['millions']:,.1f} M | | | | | not run: {found['why']} |"
    minutes = 1e6 / found["tokens_per_s"] / 60
    wrote = f"{found['written_per_s']:,.0f}" if "written_per_s" in found else ""
    served = f"{found['served_mb'] / 1e3:.1f}" if "served_mb" in found else ""
    return (
        f"| `{found['preset']}` | {found['millions']:,.1f} M | {found['method']} | {found['memory_mb'] / 1e3:.1f} | "
        f"{minutes:,.1f} | {wrote} | {served} |"
    )


def main() -> int:
    """Measure and print, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--most", type=float, default=200.0, help="millions of parameters that are run")
    parser.add_argument("--lora", action="store_true", help="adapters instead of all weights")
    parser.add_argument("--part", choices=("trained", "written"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    method = "lora" if given.lora else "full"
    if given.part:
        part = written(given.presets[0]) if given.part == "written" else trained(given.presets[0], method, given.steps)
        print(json.dumps(part))
        return 0
    from lamina.model.architectures.presets import PRESETS, preset
    from lamina.model.layers.hollow import hollow
    from lamina.model.transformer import Transformer

    print(f"{machine()}; torch {versions_of('torch')['torch']}; a step of {_ROWS} rows of {_LENGTH} tokens\n")
    print(
        "| preset | parameters | method | training, GB | core minutes a million tokens | "
        "written tokens/s of one core | serving, GB |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in given.presets or PRESETS:
        with hollow():
            millions = Transformer(preset(name)).parameter_count / 1e6
        large = millions > given.most
        found = {"preset": name, "why": f"over {given.most:,.0f} M"} if large else measure(name, method, given.steps)
        print(row(found | {"millions": millions}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
