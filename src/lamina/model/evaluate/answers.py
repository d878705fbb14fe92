"""How likely a model finds a given answer to a given prompt."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.contracts.tokens import Tokenizer
from lamina.kit.errors import TooLargeError
from lamina.model.evaluate.scoring import Passage, batches, score
from lamina.model.transformer import Transformer

_BATCH_TOKENS = 4096


def nll_of_completion(
    model: Transformer, tokenizer: Tokenizer, prompt_ids: Sequence[int], completion_ids: Sequence[int]
) -> float:
    """-log p(completion | prompt) in nats, summed over the completion's tokens."""
    return nll_of_completions(model, tokenizer, [(prompt_ids, completion_ids)])[0]


def nll_of_completions(
    model: Transformer, tokenizer: Tokenizer, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[float]:
    """-log p(completion | prompt) in nats of each (prompt, completion) pair, in order, computed in batches.

    An empty prompt stands for the token that ends documents. A prompt that is too long for the context loses its
    beginning; a completion that is too long alone is refused.
    """
    longest = model.spec.max_positions
    passages = []
    for owner, (prompt, completion) in enumerate(pairs):
        if len(completion) > longest:
            raise TooLargeError(
                f"the completion has {len(completion)} tokens, the model's context {longest}", where=f"pair {owner}"
            )
        given = list(prompt) or [tokenizer.end_ids[0]]
        given = given[-(longest + 1 - len(completion)) :]  # the last token is a target only
        passages.append(Passage([*given, *completion], len(given), owner))
    nats = [0.0] * len(pairs)
    for batch in batches([p for p in passages if len(p.ids) > p.start], _BATCH_TOKENS):
        for passage, value in zip(batch, score(model, batch), strict=True):
            nats[passage.owner] = value
    return nats
