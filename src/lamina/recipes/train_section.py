"""``[model.train]``: how a model is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lamina.kit.errors import ConfigError
from lamina.recipes.row_section import COLUMNS, read_rows_section

#: Keys that change what is seen of a run, and not what comes out of it.
WATCHING = ("samples", "sample_every", "track")
_SILENT = ("masked-lm", "next-sentence", "span-corruption", "translation", "classification", "contrastive")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSection:
    """``[model.train]``. The length is a wall-clock ``budget``, ``steps``, ``tokens`` or ``epochs``: one of them."""

    objective: Literal[
        "causal-lm",
        "masked-lm",
        "next-sentence",
        "span-corruption",
        "translation",
        "classification",
        "contrastive",
        "dpo",
        "kto",
    ] = "causal-lm"
    rows: dict[str, Any] | None = None  # of the last five: see row_section.RowsSection
    method: Literal["lora", "full"] = "lora"
    budget: str | None = None  # wall clock, turned once into a recorded step count
    steps: int | None = None
    tokens: int | None = None
    epochs: float | None = None
    learning_rate: float | None = None  # default by method
    schedule: Literal["cosine", "wsd"] = "cosine"
    pace: Literal["steps", "clock"] = "steps"  # what the rate follows; "clock" ends within a step of the budget
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: for the matrices of the blocks
    average: float | None = None  # decay of a moving average of the weights, which the run ends with
    recompute: bool = False  # less memory, a forward pass more
    validate_every: int | None = None  # steps between measurements of the held-out loss
    patience: int | None = None  # measurements in a row without a better loss that end the run, with the best weights
    compile: Literal["auto", "always", "never"] = "auto"  # auto: where a comparison at the start shows that it pays
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU where torch can use one
    workers: int = 1  # processes that train together
    executor: Literal["local", "ray"] = "local"  # where they run
    rank: int = 16
    alpha: float = 32.0
    batch: int = 1  # sequences of a micro-batch
    accumulate: int = 1  # micro-batches of a step
    length: int = 512  # tokens of a sequence
    replay: float = 0.3  # of causal-lm: share of chat-format rows, so that tuning keeps the end of an answer
    mask: float = 0.15  # of masked-lm and next-sentence: share of the tokens that are hidden
    whole_words: bool = False  # and whether whole words are
    noise: float = 0.15  # of span-corruption: share of the tokens that are cut out
    span: float = 3.0  # and how many together, on average
    temperature: float = 0.05  # of contrastive: what likenesses of texts are divided by
    beta: float = 0.1  # of dpo and kto: how far answers may become likelier than they were
    smoothing: float = 0.0  # of dpo: share of the pairs that are taken to be the wrong way round
    desirable: float = 1.0  # of kto: weight of good answers
    undesirable: float = 1.0  # and of bad ones
    teacher: str | tuple[str, ...] | None = None  # a model, or mirrors of it, whose scores are learned too
    distill: float = 0.5  # share of the teacher's scores in the loss
    softness: float = 2.0  # temperature at which they are compared
    samples: tuple[str, ...] = ()  # of a causal model: beginnings that it goes on with while it learns
    sample_every: int | None = None  # steps; default: an eighth of the run
    track: tuple[Literal["tensorboard", "mlflow"], ...] = ()  # where curves go besides metrics.jsonl
    seed: int = 0

    def __post_init__(self) -> None:
        given = [k for k in ("budget", "steps", "tokens", "epochs") if getattr(self, k) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} exclude each other", hint="keep one of them")
        if self.pace == "clock" and given and given != ["budget"]:
            raise ConfigError("needs a budget", where="model.train.pace", hint='budget = "20m"')
        if self.patience is not None and self.validate_every is None:
            raise ConfigError("needs 'validate_every'", where="model.train.patience", hint="validate_every = 100")
        if self.workers < 1:
            raise ConfigError("must be at least one process", where="model.train.workers")
        if not 0 <= self.replay < 1:
            raise ConfigError(f"replay = {self.replay} is not a share from 0 to below 1")
        if self.objective != "causal-lm":
            object.__setattr__(self, "replay", 0.0)  # only models that go on with text hold conversations
        if self.sample_every is not None and self.sample_every < 1:
            raise ConfigError("must be at least one step", where="model.train.sample_every")
        self._check_objective()

    def _check_objective(self) -> None:
        """What goes with the objective alone."""
        read_rows_section(self.objective, self.rows)
        if self.workers > 1 and self.objective in COLUMNS:
            raise ConfigError(f'one process learns from rows ("{self.objective}")', where="model.train.workers")
        if self.validate_every is not None and self.objective in (*COLUMNS, "next-sentence"):
            raise ConfigError(f'is not measured for "{self.objective}" yet', where="model.train.validate_every")
        if self.samples and self.objective in _SILENT:
            raise ConfigError(f'a model of "{self.objective}" writes nothing by itself', where="model.train.samples")
        if self.teacher is not None and self.objective != "causal-lm":
            raise ConfigError('a teacher is of objective "causal-lm"', where="model.train.teacher")
        if self.objective == "classification" and self.method == "lora":
            raise ConfigError("a fresh output needs more than an adapter", hint='[model.train] method = "full"')
