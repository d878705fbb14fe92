"""The stages of a stack and how they hang together: each is content-addressed, so only what is stale runs.

base ──────────────┬──────────────► served(base) ──► evaluation(base)
corpus ─► tokens ──┴─► training ──► served(tuned) ─► evaluation(tuned)
   └────► passages ───────────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lamina.data.steps import DEFAULT_STEPS
from lamina.kit.errors import ConfigError
from lamina.kit.packages import Located
from lamina.kit.progress import Progress
from lamina.kit.stages import Stage, Workshop
from lamina.recipes import augmentation, collect, history, step_files
from lamina.recipes.architectures import AUTO
from lamina.recipes.base_choice import base_of
from lamina.recipes.fresh import fresh_stage, vectors_stage
from lamina.recipes.mixing import check_mixture, mixture_stage
from lamina.recipes.questions import read_questions
from lamina.recipes.run_context import run_context
from lamina.recipes.served import Form, form_stage, served_stage
from lamina.recipes.sizing import sizing_stage
from lamina.recipes.stack import ModelSection, Stack, TrainSection
from lamina.recipes.tasks import task_files
from lamina.recipes.tokenizer_stage import wanted_tokenizer
from lamina.recipes.watching import deciding


@dataclass
class Plan:
    """The stages of ``stack``; a property is reached by running what it stands on first."""

    stack: Stack
    workshop: Workshop
    progress: Progress
    derives: bool = False  # the corpus is to follow from the last one, and not to be built
    chooses: bool = True  # a base model that is "auto" and not chosen yet
    reuse: Path | None = None  # token shards that hold all documents of the corpus, and more

    # -- data ---------------------------------------------------------------------------------------------------------

    @cached_property
    def corpus(self) -> Stage:
        """Documents: collected, cleaned, deduplicated, split."""
        data = self.stack.data
        if data is None or not self.stack.collects:
            raise ConfigError("has no [[data.sources]]", where=self.stack.file.name)
        augmentation.check(self.stack)
        sources = collect.collect(self.stack, self.progress)
        check_mixture(self.stack, sources=[s.name for s in sources])
        augmented = augmentation.place(self.stack, [s.name for s in sources], self.progress)
        placed = step_files.place(self.stack, self._steps, self.progress)
        stage = Stage(
            name="corpus",
            shelf="corpora",
            function="lamina.recipes.corpus:build",
            parameters={
                "sources": [s.identity for s in sources],
                **placed.parameters,
                "held_out": data.held_out,
                **augmented.parameters,
            },
            inputs={"scorer": self.scorer} if self.scores else {},
            versions=step_files.versions(self._steps, [s.use for s in sources])
            | dict(augmented.versions)
            | {"variety": 1},
            context={
                **placed.context,
                "augmentation": augmented.context,
                "sources": [collect.described(s) for s in sources],
                "executor": data.executor,
                "workers": data.workers,
            },
        )
        return history.chosen(self.workshop, stage, keep=self.derives)

    @property
    def scores(self) -> bool:
        """Whether a step of the corpus asks the base model. Raises ``ConfigError`` where there is none."""
        asks = step_files.asks_the_base(self._steps)
        if asks and (self.stack.model is None or self.stack.model.base is None):
            raise ConfigError(
                "the step 'perplexity' needs [model] base, or a service of its own",
                where=self.stack.file.name,
                hint='service = "http://127.0.0.1:8000/v1"',
            )
        return asks

    @property
    def scorer(self) -> Path:
        """The base model as it is served, which scores documents; made by ``scoring.serve_scorer``."""
        return self.workshop.folder(self.scorer_stage)

    @property
    def scorer_stage(self) -> Stage:
        """Makes it; without calibration, whose documents would have to be there before they are scored."""
        return form_stage(Form(self.stack.deployment.quantize), self.workshop.folder(self.base), part="")

    @cached_property
    def tokenizer(self) -> Stage:
        """A tokenizer trained on the corpus (only where the stack asks for one), or the one of the teacher."""
        trained = self.stack.data is not None and self.stack.data.tokenizer.trained
        if not trained and self.trains and self._train.teacher is not None:
            return self.teacher
        return wanted_tokenizer(self.stack, self.workshop.folder(self.corpus))

    @cached_property
    def tokens(self) -> Stage:
        """The training split as token shards, and chat rows made from it."""
        train = self._train
        check_mixture(self.stack, corpus=self.workshop.folder(self.corpus))
        return Stage(
            name="tokens",
            shelf="tokens",
            function="lamina.recipes.corpus:tokenize",
            parameters={
                "replay": train.replay > 0,
                "seed": train.seed,
                **({"sentences": True} if train.objective == "next-sentence" else {}),
            },
            inputs={"corpus": self.workshop.folder(self.corpus), "tokenizer": self.workshop.folder(self.tokenized_by)},
            versions={"shards": 1, "replay": 2},
            context={
                "reuse": None if self.reuse is None else str(self.reuse),
                "workers": self.stack.data.workers if self.stack.data else None,
            },
        )

    @cached_property
    def passages(self) -> Stage:
        """The index in which answers find their sources."""
        return passages_stage(self.workshop.folder(self.corpus))

    # -- model --------------------------------------------------------------------------------------------------------

    @cached_property
    def base_location(self) -> Located:
        """Where the base model lies on this machine."""
        base = base_of(self.stack, self.progress, cache=collect.cache_folder(self.stack), choose=self.chooses)
        return collect.locate(self.stack, base, self.progress)

    @cached_property
    def base(self) -> Stage:
        """The model to start from, as a Hugging Face folder: imported, or fresh weights of a preset."""
        model = self._model
        if model.base is not None:
            return _imported("base", self.base_location)
        return fresh_stage(
            model,
            tokenizer=self.workshop.folder(self.tokenizer),
            vectors=None if model.embedding.random else self.workshop.folder(self.vectors),
            objective=self._train.objective,
            seed=self._train.seed,
            sizing=self.sized,
        )

    @cached_property
    def sizing(self) -> Stage:
        """The choice of a size (only where the preset is "auto")."""
        folders = {"tokens": self.workshop.folder(self.tokens), "tokenizer": self.workshop.folder(self.tokenizer)}
        return sizing_stage(self._train, **folders, state=self.workshop.state)

    @property
    def sized(self) -> Path | None:
        """Where that choice is; None where the stack makes it."""
        return self.workshop.folder(self.sizing) if self._model.preset == AUTO else None

    @cached_property
    def vectors(self) -> Stage:
        """Word vectors that the embedding layer begins as (only where the stack asks for them)."""
        folders = {"tokens": self.workshop.folder(self.tokens), "tokenizer": self.workshop.folder(self.tokenizer)}
        return vectors_stage(self._model.embedding, **folders, context=self.stack.file.parent, seed=self._train.seed)

    @cached_property
    def teacher(self) -> Stage:
        """The model whose scores are learned too, as a Hugging Face folder (only where the stack names one)."""
        return _imported("teacher", collect.locate(self.stack, self._train.teacher or (), self.progress))

    @cached_property
    def training(self) -> Stage:
        """The base tuned on the documents: adapter, merged model, metrics."""
        mixture, corpus = mixture_stage(self.stack, self.workshop.folder(self.corpus))
        frozen = {} if self._model.embedding.train else {"frozen_embeddings": True}
        if self._train.teacher is not None:
            corpus = {**corpus, "teacher": self.workshop.folder(self.teacher)}
        if self._train.validate_every is not None:
            corpus = {**corpus, "corpus": self.workshop.folder(self.corpus)}
        if self.sized is not None:
            corpus = {**corpus, "sizing": self.sized}
        return Stage(
            name="training",
            shelf="runs",
            function="lamina.recipes.training:train_on_documents",
            parameters={"train": deciding(self._train), **mixture, **frozen},
            inputs={"base": self.workshop.folder(self.base), "tokens": self.workshop.folder(self.tokens), **corpus},
            versions={"train": 1},
            context=self.run_context(self.workshop.folder(self.corpus)),
        )

    def run_context(self, corpus: Path | None, **more: Any) -> dict[str, Any]:
        """What a run is told beside its parameters."""
        base = None if self._model.base is None else self.base_location
        return run_context(self.stack, self._train, self.workshop, base=base, corpus=corpus, **more)

    def served(self, source: Path, *, part: str) -> Stage:
        """The model in ``source`` (in its folder ``part``) in the form in which it is served, with its parity seal."""
        calibrates = self.stack.collects and self.stack.deployment.calibrate != "none"
        corpus = self.workshop.folder(self.corpus) if calibrates else None
        return served_stage(self.stack, source, part=part, corpus=corpus)

    def evaluation(self, served: Path, *, grounded: bool) -> Stage:
        """Bits per byte on held-out documents, and the score on the stack's questions, of a served artefact."""
        model, deployment = self._model, self.stack.deployment
        device = "cpu" if deployment.quantize == "int8" else deployment.device  # int8 products are the processor's
        inputs = {"served": served, "corpus": self.workshop.folder(self.corpus)}
        if grounded:
            inputs["passages"] = self.workshop.folder(self.passages)
        return Stage(
            name="evaluation",
            shelf="evaluations",
            function="lamina.recipes.evaluation:evaluate",
            parameters={
                "tokens": model.evaluate.tokens,
                "questions": read_questions(self.stack.folder / asked) if (asked := model.evaluate.questions) else [],
                "passages": self.stack.interface.passages,
                "system": self.stack.interface.system,
                "tasks": task_files(self.stack),
                "draws": model.evaluate.draws,
                **({"cache": deployment.cache} if deployment.cache else {}),
            },
            inputs=inputs,
            versions={"evaluate": 2},
            context={"folder": str(self.stack.folder), "device": device},
        )

    # -- helpers ------------------------------------------------------------------------------------------------------

    @property
    def _steps(self) -> Sequence[Mapping[str, Any]]:
        data = self.stack.data
        return DEFAULT_STEPS if data is None or data.steps is None else data.steps

    @property
    def _model(self) -> ModelSection:
        if self.stack.model is None:
            raise ConfigError("has no [model] section", where=self.stack.file.name)
        return self.stack.model

    @property
    def _train(self) -> TrainSection:
        if self.stack.model is None or self.stack.model.train is None:
            raise ConfigError("has no [model.train] section", where=self.stack.file.name)
        return self.stack.model.train

    @property
    def tokenized_by(self) -> Stage:
        """What holds the tokenizer of the documents: the one that is trained, or the base model's."""
        data = self.stack.data
        trained = data is not None and (data.tokenizer.trained or self.stack.model is None)
        return self.tokenizer if trained else self.base

    @property
    def trains(self) -> bool:
        """Whether a model is trained on the documents."""
        return self.stack.model is not None and self.stack.model.train is not None


def _imported(name: str, located: Located) -> Stage:
    """The stage that brings a model from its location into the state."""
    return Stage(
        name=name,
        shelf="bases",
        function="lamina.recipes.training:import_base",
        parameters={"location": located.location, "sha256": located.sha256},
        inputs={},
        versions={"import": 1},
        context={"path": str(located.path)},
    )


def passages_stage(corpus: Path) -> Stage:
    """The stage that makes the index of passages of a corpus."""
    return Stage(
        name="passages",
        shelf="passages",
        function="lamina.recipes.corpus:index",
        parameters={},
        inputs={"corpus": corpus},
        versions={"passages": 1},
    )
