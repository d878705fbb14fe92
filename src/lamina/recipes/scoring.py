"""A model that scores texts for the step `perplexity`, as a process of its own on a loopback port.

    with scoring(served):  # a served model's folder, or None
        build_corpus(…)    # its workers find the address in the environment

``POST <address>/score`` with ``{"texts": […]}`` gives ``{"scores": [{"nats", "tokens"}, …]}``: Σ -ln p over the tokens
of each text, after the token that ends documents (see ``model.evaluate.bits_per_byte``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.data.clean.perplexity import SCORER
from lamina.recipes.answering import Answer, answer_until_parent_ends, answering, texts_of

if TYPE_CHECKING:
    from lamina.recipes.plan import Plan

_TEXTS = 256


def serve_scorer(plan: Plan) -> None:
    """Make what the corpus' steps need of the model layer: the served base. Nothing where no step asks for it."""
    if plan.scores:
        plan.workshop.run(plan.base)
        plan.workshop.run(plan.scorer_stage)


@contextmanager
def scoring(served: Path | None) -> Iterator[None]:
    """While inside, the model in ``served``/model scores texts at the address in the environment (LAMINA_SCORER).

    Raises what opening the model raises.
    """
    if served is None:
        yield
        return
    with answering("lamina.recipes.scoring", [str(served / "model")], SCORER, what="scores texts"):
        yield


def _scorer(arguments: list[str]) -> Answer:
    from lamina.deployment.compress.quantize import open_served
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.evaluate.bits_per_byte import bits_per_byte

    folder = Path(arguments[0])
    model, tokenizer = open_served(folder), open_tokenizer(folder)

    def score(body: dict[str, Any]) -> dict[str, Any]:
        texts = texts_of(body, _TEXTS)
        if not texts:
            return {"scores": []}
        measured = bits_per_byte(model, tokenizer, texts)
        tokens = [len(ids) for ids in tokenizer.encode_batch(texts)]
        scored = zip(measured.per_document, tokens, strict=True)
        return {"scores": [{"nats": nats, "tokens": count} for (nats, _), count in scored]}

    return score


if __name__ == "__main__":
    answer_until_parent_ends("/score", _scorer)
