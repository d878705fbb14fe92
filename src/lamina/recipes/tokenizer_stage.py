"""The stage that trains a tokenizer."""

from __future__ import annotations

from pathlib import Path

from lamina.kit import config
from lamina.kit.errors import ConfigError
from lamina.kit.stages import Stage
from lamina.recipes.architectures import check_tokenizer
from lamina.recipes.stack import Stack, TokenizerSection


def wanted_tokenizer(stack: Stack, corpus: Path) -> Stage:
    """The one that the stack asks for. Raises ``ConfigError`` where it asks for none, or for one of no use to it."""
    data, model = stack.data, stack.model
    if data is None or not data.tokenizer.trained:
        hint = '[data.tokenizer] use = "bpe"'
        raise ConfigError("there is no tokenizer: none is trained", where=stack.file.name, hint=hint)
    if model is not None and model.architecture is not None:
        try:
            objective = {} if model.train is None else {"objective": model.train.objective}
            check_tokenizer(model.architecture, data.tokenizer.use, data.tokenizer.sentinels, **objective)
        except ConfigError as error:
            raise ConfigError(error.what, where=f"{stack.file.name}: data.tokenizer.use", hint=error.hint) from None
    masks = model is not None and model.architecture == "bert" and data.tokenizer.use == "bpe"
    return tokenizer_stage(data.tokenizer, corpus, mask=masks)


def tokenizer_stage(section: TokenizerSection, corpus: Path, *, mask: bool = False) -> Stage:
    """A tokenizer trained on the corpus folder as ``section`` says; ``mask``: with a token for what is hidden."""
    return Stage(
        name="tokenizer",
        shelf="tokenizers",
        function="lamina.recipes.corpus:train_tokenizer",
        parameters=config.resolved(section) | ({"mask": True} if mask else {}),
        inputs={"corpus": corpus},
        versions={"tokenizer": 3},
    )
