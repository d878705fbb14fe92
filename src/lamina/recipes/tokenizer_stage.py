"""The stage that trains a tokenizer."""

from __future__ import annotations

from pathlib import Path

from lamina.kit import config
from lamina.kit.errors import ConfigError
from lamina.kit.stages import Stage
from lamina.recipes.stack import Stack, TokenizerSection


def wanted_tokenizer(stack: Stack, corpus: Path) -> Stage:
    """The one that the stack asks for. Raises ``ConfigError`` where it asks for none, or for one of no use to it."""
    data, model = stack.data, stack.model
    if data is None or not data.tokenizer.trained:
        hint = '[data.tokenizer] use = "bpe"'
        raise ConfigError("there is no tokenizer: none is trained", where=stack.file.name, hint=hint)
    if data.tokenizer.use == "wordpiece" and model is not None and model.architecture == "gpt":
        raise ConfigError(
            "a GPT writes text, and WordPiece does not give text back: case and white space are lost",
            where=f"{stack.file.name}: data.tokenizer.use",
            hint='use = "bpe" or "unigram"',
        )
    return tokenizer_stage(data.tokenizer, corpus)


def tokenizer_stage(section: TokenizerSection, corpus: Path) -> Stage:
    """A tokenizer trained on the corpus folder as ``section`` says."""
    return Stage(
        name="tokenizer",
        shelf="tokenizers",
        function="lamina.recipes.corpus:train_tokenizer",
        parameters=config.resolved(section),
        inputs={"corpus": corpus},
        versions={"tokenizer": 3},
    )
