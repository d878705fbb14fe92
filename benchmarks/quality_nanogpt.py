"""nanoGPT's recipe for a processor over a folder of texts: `quality_nanogpt.py FOLDER SEED (seconds|steps|rate) N`.

The recipe is that of its README for a machine without a GPU (config/train_shakespeare_char.py with four layers of 128,
rows of 64 characters, 12 rows a step, no dropout), its model from .bench/nanogpt/model.py; the rate falls over the
steps that the time holds, as lr_decay_iters does. Characters are its tokens, all that occur. FOLDER has train.txt and
held_out.json. Prints a JSON object: bits per byte of the held-out texts, steps, seconds.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / ".bench" / "nanogpt"))
from model import GPT, GPTConfig  # type: ignore[import-not-found]  # noqa: E402

BLOCK, ROWS, LAYERS, HEADS, WIDTH = 64, 12, 4, 4, 128
PEAK, FLOOR, WARM, BETAS, DECAY, CLIP = 1e-3, 1e-4, 100, (0.9, 0.99), 0.1, 1.0
_APART = "\n\n"  # between documents
_TRIED = 60  # steps by which the number that fits into the time is guessed
_BATCH = 256  # windows that are measured together


def rate_at(step: int, steps: int) -> float:
    """Its get_lr."""
    if step < WARM:
        return PEAK * (step + 1) / (WARM + 1)
    share = min(1.0, (step - WARM) / max(1, steps - WARM))
    return FLOOR + 0.5 * (1.0 + math.cos(math.pi * share)) * (PEAK - FLOOR)


class Training:
    """Its model and its loop; a step is a batch of random rows."""

    def __init__(self, folder: Path, seed: int) -> None:
        torch.manual_seed(seed)
        text = (folder / "train.txt").read_text()
        self.held = json.loads((folder / "held_out.json").read_text())
        self.ids = {c: n for n, c in enumerate(sorted({*text, *"".join(self.held), *_APART}))}
        self.data = torch.from_numpy(self.encode(text))
        config = GPTConfig(
            block_size=BLOCK,
            vocab_size=len(self.ids),
            n_layer=LAYERS,
            n_head=HEADS,
            n_embd=WIDTH,
            dropout=0.0,
            bias=False,
        )
        self.model = GPT(config)
        self.optimizer = self.model.configure_optimizers(DECAY, PEAK, BETAS, "cpu")

    def encode(self, text: str) -> np.ndarray:
        """Characters to numbers."""
        return np.fromiter((self.ids[c] for c in text), np.int64, len(text))

    def step(self, number: int, steps: int) -> None:
        """One of ``steps``."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(number, steps)
        places = torch.randint(len(self.data) - BLOCK, (ROWS,))
        rows = torch.stack([self.data[i : i + BLOCK + 1] for i in places.tolist()])
        _, loss = self.model(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def rate(self) -> float:
        """Steps a second, by the median of some."""
        taken = []
        for number in range(_TRIED):
            began = time.perf_counter()
            self.step(number, 10 * _TRIED)
            taken.append(time.perf_counter() - began)
        return 1 / float(np.median(taken))

    @torch.no_grad()
    def bits_per_byte(self) -> float:
        """Of the held-out texts: each character once, with half a row of context or more but at a text's start."""
        self.model.eval()
        nats, half, windows = 0.0, BLOCK // 2, []
        for text in self.held:
            ids = self.encode(_APART + text)
            done, begin = len(_APART), 0
            while done < len(ids):
                part = ids[begin : begin + BLOCK + 1]
                targets = np.full(BLOCK, -1, np.int64)
                targets[done - begin - 1 : len(part) - 1] = part[done - begin :]
                windows.append((np.pad(part[:-1], (0, BLOCK + 1 - len(part))), targets))
                done, begin = begin + len(part), begin + half
        for place in range(0, len(windows), _BATCH):
            some = windows[place : place + _BATCH]
            inputs, targets = (torch.from_numpy(np.stack(part)) for part in zip(*some, strict=True))
            _, loss = self.model(inputs, targets)
            nats += float(loss) * int((targets >= 0).sum())
        return nats / math.log(2) / sum(len(text.encode()) for text in self.held)


def main() -> None:
    """Train and measure, or only tell the rate."""
    folder, seed, unit, amount = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    training = Training(folder, seed)
    if unit == "rate":
        print(json.dumps({"steps_per_s": training.rate()}))
        return
    began, number = time.monotonic(), 0
    steps = int(amount)
    if unit == "seconds":  # by the clock: as many as have passed stand for the share of the whole
        steps = WARM
    while number < steps if unit == "steps" else time.monotonic() - began < amount:
        if unit == "seconds":
            gone = time.monotonic() - began
            steps = max(number + 1, int(number * amount / gone)) if number else steps
        training.step(number, steps)
        number += 1
    taken = time.monotonic() - began
    print(json.dumps({"bits_per_byte": training.bits_per_byte(), "steps": number, "seconds": taken}))


if __name__ == "__main__":
    main()
