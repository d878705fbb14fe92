"""The stages of a stack that learns from rows.

rows ──► (tokenizer) ──► base ──► training ──► evaluation
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from lamina.kit.progress import Progress
from lamina.kit.stages import Stage, Workshop
from lamina.recipes.plan import Plan
from lamina.recipes.rows import rows_stage
from lamina.recipes.stack import Stack, learns_rows
from lamina.recipes.tasks import task_files
from lamina.recipes.tokenizer_stage import wanted_tokenizer
from lamina.recipes.watching import deciding


class RowPlan(Plan):
    """As ``Plan``, with the rows in the place of the tokens of documents."""

    @cached_property
    def rows(self) -> Stage:
        """The rows, read, checked and split."""
        return rows_stage(self.stack, self._train, self.progress)

    @cached_property
    def tokenizer(self) -> Stage:
        """A tokenizer trained on the corpus, or on the rows where there is none."""
        learned = self.corpus if self.stack.collects else self.rows
        return wanted_tokenizer(self.stack, self.workshop.folder(learned))

    @cached_property
    def training(self) -> Stage:
        """The base trained on the rows."""
        table = deciding(self._train) | {"rows": {"from": "rows"}}  # what they hold is an input
        corpus = self.workshop.folder(self.corpus) if self.stack.collects else None
        frozen = {} if self._model.embedding.train else {"frozen_embeddings": True}
        return Stage(
            name="training",
            shelf="runs",
            function="lamina.recipes.row_training:train_on_rows",
            parameters={"train": table, **frozen},
            inputs={"base": self.workshop.folder(self.base), "rows": self.workshop.folder(self.rows)},
            versions={"train": 1},
            context={
                **self.run_context(corpus, rows_license=self.rows.context["license"]),
                "references": str(self.stack.state / "references"),
            },
        )

    def row_evaluation(self, run: Path) -> Stage:
        """What the trained model does on the held-out rows, and on the stack's tasks."""
        tasks = task_files(self.stack)
        return Stage(
            name="row-evaluation",
            shelf="evaluations",
            function="lamina.recipes.row_evaluation:evaluate_rows",
            parameters={
                "objective": self._train.objective,
                "rows": self._model.evaluate.rows,
                "length": self._train.length,
                "fresh": self._model.base is None,
                **({"tasks": tasks, "draws": self._model.evaluate.draws} if tasks else {}),
            },
            inputs={"run": run, "base": self.workshop.folder(self.base), "rows": self.workshop.folder(self.rows)},
            versions={"evaluate": 1},
            context={
                "references": str(self.stack.state / "references"),
                "folder": str(self.stack.folder),
                "device": self._train.device,
            },
        )


def open_plan(stack: Stack, workshop: Workshop, progress: Progress) -> Plan:
    """The stages of ``stack``, whatever it learns from."""
    kind = RowPlan if learns_rows(stack.model) else Plan
    return kind(stack, workshop, progress)
