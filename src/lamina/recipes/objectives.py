"""``[model.train] objective``: the batches that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lamina.kit.errors import ConfigError
from lamina.recipes.architectures import check_objective

if TYPE_CHECKING:
    from lamina.contracts.tokens import BatchStream
    from lamina.data.batches import PackedBatches, Part
    from lamina.data.shards import Shards
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.spec import ModelSpec
    from lamina.recipes.stack import TrainSection


def open_stream(
    parts: Sequence[tuple[Shards, float] | Part],
    section: TrainSection,
    tokenizer: ModelTokenizer,
    spec: ModelSpec,
    *,
    every: bool = False,
) -> tuple[BatchStream, PackedBatches]:
    """The batches of the objective over ``parts``, and the packed rows below them (where shares can be weighed).

    ``every``: of chats, what users say is learned as well, where a model goes on with texts.
    """
    from lamina.data.batches import PackedBatches
    from lamina.data.forms import NextTokens
    from lamina.data.objectives.masking import MaskedBatches, masking_of
    from lamina.data.objectives.sentences import NextSentence
    from lamina.data.objectives.texts import WholeTexts
    from lamina.model.architectures.presets import architecture_of

    check_objective(architecture_of(spec), section.objective)
    settings: Any = {"batch": section.batch, "length": section.length, "seed": section.seed}
    if section.objective == "causal-lm":
        packed = PackedBatches(parts, **settings, form=NextTokens(every=every))
        return packed, packed
    if section.objective == "span-corruption":
        form = _spans(section, tokenizer, spec)
        packed = PackedBatches(parts, **settings | {"length": form.target_length()}, form=form)
        return packed, packed
    first, last = tokenizer.document_ends
    masking = masking_of(tokenizer, share=section.mask, whole_words=section.whole_words)
    if section.objective == "next-sentence":
        packed = PackedBatches(parts, **settings, form=NextSentence(first=first, last=last))
    else:
        packed = PackedBatches(parts, **settings, form=WholeTexts(((first,), (last,))))
    return MaskedBatches(packed, masking, seed=section.seed), packed


def _spans(section: TrainSection, tokenizer: ModelTokenizer, spec: ModelSpec) -> Any:
    from lamina.data.objectives.spans import Spans, sentinels_of

    if spec.start_token is None:
        raise ConfigError("the model does not say what its texts begin with", where="decoder_start_token_id")
    return Spans(
        sentinels=sentinels_of(tokenizer),
        start=spec.start_token,
        end=tokenizer.end_ids[0],
        source_length=section.length,
        noise=section.noise,
        mean=section.span,
    )
