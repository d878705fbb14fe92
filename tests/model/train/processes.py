"""Runs in one of the processes that ``torchrun`` begins: python processes.py FOLDER CASES (see test_distributed)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))
import counting

from lamina.model.train.distributed import Team, joined


class Noting:
    """Writes each step that it sees into a file of its own, a line each."""

    def __init__(self, file: Path, needs_model: bool) -> None:
        self.file, self.needs_model = file, needs_model

    def begin(self, model: object, step: int, plan: object, progress: object) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)

    def see(self, facts: dict[str, float]) -> dict[str, str]:
        with self.file.open("a") as file:
            file.write(f"{facts['step']}\n")
        return {}

    def close(self, *, well: bool) -> None:
        pass


def run(folder: Path, rows: int = 4, stop_at: int | None = None, **settings: object) -> None:
    """One case: the trained weights in ``folder``, unless the run stops on its way."""
    model = counting.make()
    held_out = [next(counting.Texts())] if "validate_every" in settings else []
    watching = [Noting(folder / "figures.txt", False), Noting(folder / "model.txt", True)]
    more = {"held_out": held_out, "observers": watching}
    try:
        counting.run(model, folder, counting.Texts(rows=rows, stop_at=stop_at), **more, **settings)
    except KeyboardInterrupt:
        return
    if Team().lead:
        save_file({name: p.detach() for name, p in model.named_parameters()}, folder / "trained.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined():
        for name, settings in json.loads(sys.argv[2]).items():
            run(Path(sys.argv[1]) / name, **settings)
