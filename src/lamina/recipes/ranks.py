"""``[model.train] workers``: a training stage in several processes, of this machine or of a Ray cluster.

    python -m lamina.recipes.ranks launch PARENT …      torchrun, which does not outlive the stage in process PARENT
    python -m lamina.recipes.ranks JOB                  one of the processes; torchrun began them

Each does the whole stage on its share of every step. The first one's results stand; what the others write is thrown
away.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina.kit.durable import atomic_write, make_folder
from lamina.kit.errors import LaminaError, StageError, require, restored, told
from lamina.kit.limits import processors
from lamina.kit.process import die_with_parent
from lamina.kit.progress import Progress, open_progress
from lamina.recipes.train_section import TrainSection

_JOB, _ERROR = "job.json", "error.json"


def shared_out(
    function: str,
    staging: Path,
    work: Path,
    parameters: dict[str, Any],
    inputs: Mapping[str, Path],
    progress: Progress,
    section: TrainSection,
) -> bool:
    """Run the stage's ``function`` ("module:name") in ``section.workers`` processes and say that it was done; False in
    one of them, or where one is all that is wanted. Raises what the first of them raised."""
    if section.workers == 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return False
    job = {
        "function": function,
        "staging": str(staging),
        "work": str(work),
        "parameters": parameters,
        "inputs": {name: str(path) for name, path in inputs.items()},
    }
    make_folder(work)
    place, error = work / _JOB, work / _ERROR
    atomic_write(place, json.dumps(job).encode())
    error.unlink(missing_ok=True)
    progress.say(f"{section.workers} processes train together ({section.executor})")
    ended = _with_ray(place, section.workers) if section.executor == "ray" else _with_torchrun(place, section, progress)
    if error.is_file():
        raise restored(json.loads(error.read_bytes()))
    if ended is not None:
        raise StageError(ended, where=str(work), hint="the stage's log has the details; run it again to go on")
    return True


def _with_torchrun(job: Path, section: TrainSection, progress: Progress) -> str | None:
    begin = [sys.executable, "-m", __name__, "launch", str(os.getpid())]
    threads = max(1, processors() // section.workers)
    with subprocess.Popen(
        [*begin, "--standalone", "--nproc-per-node", str(section.workers), "-m", __name__, str(job)],
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        text=True,
    ) as started:
        try:
            for line in started.stdout or ():
                progress.say(line.rstrip())
        except BaseException:
            started.terminate()  # torchrun passes it on: each saves first
            raise
    return None if started.returncode == 0 else f"torchrun ended with {started.returncode}"


def _with_ray(job: Path, workers: int) -> str | None:
    require("ray", extra="scale", why='for [model.train] executor = "ray"')
    import ray
    import torch
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    cuda = torch.cuda.is_available()
    trainer = TorchTrainer(
        _in_ray,
        train_loop_config={"job": str(job)},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if cuda else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=cuda),
        run_config=RunConfig(storage_path=str(job.parent / "ray")),
    )
    began = not ray.is_initialized()
    try:
        trainer.fit()
    except Exception as error:  # Ray's, of which the kinds differ between versions
        return f"Ray Train failed: {type(error).__name__}: {str(error).strip()[:200]}"
    finally:
        if began:
            ray.shutdown()
    return None


def _in_ray(config: dict[str, Any]) -> None:
    from ray.train import get_context

    context = get_context()
    os.environ |= {"WORLD_SIZE": str(context.get_world_size()), "RANK": str(context.get_world_rank())}
    rank(Path(config["job"]))


def rank(job: Path) -> None:
    """One of the processes that do the job in the file ``job``; the first tells what went wrong in a file beside it."""
    from lamina.model.train.distributed import Team, joined

    request = json.loads(job.read_bytes())
    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {key: Path(path) for key, path in request["inputs"].items()}
    with joined(), tempfile.TemporaryDirectory() as scrap:
        lead = Team().lead
        staging = Path(request["staging"] if lead else scrap)
        progress = open_progress("auto" if lead else "quiet")
        try:
            function(staging, Path(request["work"]), request["parameters"], inputs, progress)
        except LaminaError as error:
            if lead:
                atomic_write(job.parent / _ERROR, json.dumps(told(error)).encode())
            raise


def main(arguments: Sequence[str]) -> None:
    """torchrun, or one of its processes; each is killed with the one that began it, which torchrun by itself is not."""
    if arguments[0] == "launch":
        from torch.distributed.run import main as torchrun

        die_with_parent(int(arguments[1]))
        torchrun(list(arguments[2:]))
    else:
        die_with_parent(os.getppid())
        rank(Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
