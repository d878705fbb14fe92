"""What can be set of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lamina.kit.errors import ConfigError
from lamina.model.lora import DEFAULT_TARGETS

_ABOVE_ZERO: tuple[str, ...] = (
    "steps",
    "budget_s",
    "accumulate",
    "learning_rate",
    "rank",
    "alpha",
    "clip",
    "checkpoint_steps",
    "patience",
    "validate_every",
)
_ABOVE_ZERO += ("temperature", "softness", "beta", "desirable", "undesirable")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainParameters:
    """How to train: ``steps``, or a wall-clock ``budget_s`` (turned once into a step count); with both, the fewer.

    ``pace = "clock"``: the learning rate follows the share of ``budget_s`` that has passed, and the run ends with the
    last step that fits. It resumes, but a resumed run does not end with the very weights of an uninterrupted one.
    """

    steps: int | None = None
    budget_s: float | None = None
    method: Literal["full", "lora"] = "full"
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = DEFAULT_TARGETS
    accumulate: int = 1  # micro-batches of one step; the loss is the mean over all their learned tokens
    learning_rate: float = 3e-4  # the peak
    schedule: Literal["cosine", "wsd"] = "cosine"
    pace: Literal["steps", "clock"] = "steps"  # what the rate follows; "clock" needs a budget
    warmup: float = 0.05  # share of the steps in which the rate rises from near zero
    decay: float = 0.2  # share of the steps in which "wsd" falls
    floor: float = 0.1  # share of the peak that the rate ends at
    weight_decay: float = 0.1  # of matrices; norms and biases are left alone
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: for the matrices of the blocks
    momentum: float = 0.95  # muon's
    average: float | None = None  # decay of a moving average of the weights, which the run ends with
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float | None = 1.0  # norm of the whole gradient; None = no clipping
    recompute: bool = (
        False  # what blocks hold inside is computed again for the gradient: less memory, a forward pass more
    )
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: measured at the start
    checkpoint_s: float | None = 300.0  # at most one checkpoint in so many seconds
    checkpoint_steps: int | None = None
    validate_every: int | None = None  # steps between measurements of the held-out loss
    patience: int | None = None  # measurements in a row without a better loss that end the run
    compile: Literal["auto", "always", "never"] = "never"  # auto: where a comparison at the start shows that it pays
    seed: int = 0
    temperature: float = 0.05  # of contrastive learning: what likenesses of texts are divided by
    beta: float = 0.1  # of preferences: how far answers may become likelier than they were to the reference
    smoothing: float = 0.0  # share of DPO's pairs that are taken to be the wrong way round
    desirable: float = 1.0  # weight of KTO's good answers
    undesirable: float = 1.0  # and of the bad ones
    distill: float = 0.5  # share of the teacher's scores in the loss, where there is a teacher
    softness: float = 2.0  # temperature of the scores that are compared with the teacher's

    def __post_init__(self) -> None:
        if self.steps is None and self.budget_s is None:
            raise ConfigError("needs 'steps' or a budget", where="model.train")
        if self.pace == "clock" and self.budget_s is None:
            raise ConfigError("'clock' needs a budget", where="model.train.pace", hint='budget = "20m"')
        if self.patience is not None and self.validate_every is None:
            raise ConfigError(
                "needs a loss to be patient with", where="model.train.patience", hint="validate_every = 100"
            )
        for name in _ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"must be above zero, not {value}", where=f"model.train.{name}")
        if self.average is not None and not 0 < self.average < 1:
            raise ConfigError(f"must lie between 0 and 1, not {self.average}", where="model.train.average")
        for name in ("warmup", "decay", "floor", "distill", "momentum", "smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"must be a share from 0 to 1, not {getattr(self, name)}", where=f"model.train.{name}"
                )
        for name, choices in (
            ("method", ("full", "lora")),
            ("schedule", ("cosine", "wsd")),
            ("pace", ("steps", "clock")),
            ("compile", ("auto", "always", "never")),
            ("optimizer", ("adamw", "muon")),
            ("precision", ("auto", "float32", "bfloat16")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"cannot be {getattr(self, name)!r}",
                    where=f"model.train.{name}",
                    hint="one of " + ", ".join(choices),
                )

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``from_json`` is the inverse."""
        return dataclasses.asdict(self) | {"targets": list(self.targets)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainParameters:
        """From plain values; unknown keys are a ``ConfigError``."""
        known = [f.name for f in dataclasses.fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ConfigError(f"unknown: {', '.join(unknown)}", where="model.train", hint="known: " + ", ".join(known))
        return cls(**dict(values) | ({"targets": tuple(values["targets"])} if "targets" in values else {}))
