"""Training: one loop for pre-training and fine-tuning, whole models or adapters, resumable to the bit."""

from __future__ import annotations

from lamina.model.train.loop import TrainResult, train
from lamina.model.train.parameters import TrainParameters

__all__ = ["TrainParameters", "TrainResult", "train"]
