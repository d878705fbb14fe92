"""The draft model beside a served one: rounded to int8 where it is not rounded yet, refused where its tokens differ."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lamina.contracts.lineage import ModelVersion
from lamina.deployment.compress.quantize import is_quantized, open_served, quantize
from lamina.deployment.engine.draft import Draft
from lamina.deployment.texts.opening import kind_of
from lamina.kit.errors import ConfigError, LaminaError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.model.transformer import Transformer

_log = logging.getLogger(__name__)
_WHERE = "deployment.draft"
#: The folder of the model that guesses a version's tokens; None: it has none.
DraftOf = Callable[[ModelVersion], Path | None]
_OF_DRAFTS = ("context", "cache", "deterministic")  # options of an engine that its draft has, too


def open_draft(
    find: DraftOf | None,
    version: ModelVersion,
    model: Transformer,
    tokenizer: ModelTokenizer,
    options: Mapping[str, Any],
) -> Draft | None:
    """That of ``version``, whose ``model`` goes on with texts; an engine's ``options``. None on a GPU, too, whose
    captured steps are of single tokens. Raises ``ConfigError`` where it cannot be its draft."""
    folder = None if find is None else find(version)
    if folder is None:
        return None
    table = model.stack.embeddings.token.weight
    if table.device.type != "cpu":
        _log.info("%s is served without its draft: on a GPU nothing is guessed", version.id)
        return None
    try:
        _check_tokens(tokenizer, open_tokenizer(folder), folder)
        small = open_served(folder)
        if kind_of(small.spec) != "decoder":
            raise ConfigError("a draft goes on with texts; this model answers whole ones", where=str(folder))
        small = small if is_quantized(small) else quantize(small)
        given = {name: options[name] for name in _OF_DRAFTS if name in options}
        longest = model.spec.max_positions
        given["context"] = min(given.get("context") or longest, longest)
        draft = Draft(small, vocabulary=model.spec.stack.embeddings.vocabulary, **given)
    except LaminaError as error:
        raise ConfigError(str(error), where=_WHERE) from error
    _log.info("%s has a draft: the model in %s, computed by %s", version.id, folder, draft.kernels)
    return draft


def _check_tokens(ours: ModelTokenizer, its: ModelTokenizer, folder: Path) -> None:
    """Raise unless each id is the same token for both; where an answer ends is the large model's to say."""
    size = max(ours.vocabulary, its.vocabulary)
    other = next((i for i in range(size) if ours.token_of(i) != its.token_of(i)), None)
    if other is not None:
        raise ConfigError(
            f"its tokenizer is another one: token {other} is {its.token_of(other)!r}, of the served model "
            f"{ours.token_of(other)!r}",
            where=str(folder),
            hint="a draft needs the same vocabulary: a smaller model of the same family, or one pruned without it",
        )
