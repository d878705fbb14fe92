"""``[model] architecture`` and what goes with it: objectives, presets, tokenizers."""

from __future__ import annotations

from lamina.kit.errors import ConfigError

AUTO = "auto"  #: the preset that is chosen by the machine, the corpus and the time

#: What each architecture can be trained for.
OBJECTIVES = {
    "gpt": ("causal-lm", "classification", "dpo", "kto"),
    "bert": ("masked-lm", "next-sentence", "classification", "contrastive"),
    "seq2seq": ("span-corruption", "translation"),
}


def check_objective(architecture: str, objective: str) -> None:
    """Raise ``ConfigError`` where the objective is another architecture's."""
    if objective not in OBJECTIVES[architecture]:
        fitting = " or ".join(f'"{name}"' for name in OBJECTIVES[architecture])
        raise ConfigError(
            f'a model of architecture "{architecture}" is not trained for "{objective}"',
            where="model.train.objective",
            hint=f"objective = {fitting}",
        )


def check_auto(objective: str, length: float | None) -> None:
    """Raise ``ConfigError`` where the size of a model cannot be chosen: the law of sizes is of GPTs, by time."""
    if objective != "causal-lm":
        raise ConfigError(f'cannot be "auto" for "{objective}"', where="model.preset", hint="name a preset")
    if length is not None:
        raise ConfigError(
            "is chosen for a time, not for a number of steps or tokens", where="model.preset", hint='budget = "20m"'
        )


def check_preset(architecture: str, name: str) -> None:
    """Raise ``ConfigError`` where there is no such preset, or it is another architecture's."""
    if name == AUTO:
        if architecture != "gpt":
            raise ConfigError('only a GPT\'s can be "auto"', where="model.preset", hint="name a preset")
        return
    from lamina.model.architectures.presets import PRESETS, architecture_of, preset

    found = architecture_of(preset(name))
    if found != architecture:
        fitting = [other for other in PRESETS if architecture_of(preset(other)) == architecture]
        raise ConfigError(
            f'the preset \'{name}\' is of architecture "{found}", not "{architecture}"',
            where="model.preset",
            hint=f'architecture = "{found}", or a preset of: ' + ", ".join(fitting),
        )


def check_tokenizer(architecture: str, use: str, sentinels: int, objective: str = "span-corruption") -> None:
    """Raise ``ConfigError`` where the tokenizer that is to be trained is of no use to the architecture."""
    if architecture == "bert" and use not in ("wordpiece", "bpe"):
        raise ConfigError(
            f"a BERT learns what stands behind a mask token, and '{use}' has none", hint='use = "wordpiece" or "bpe"'
        )
    if architecture != "bert" and use == "wordpiece":
        who = "a GPT" if architecture == "gpt" else "a decoder"
        raise ConfigError(
            f"{who} writes text, and WordPiece does not give text back: case and white space are lost",
            hint='use = "bpe" or "unigram"',
        )
    if architecture == "seq2seq" and objective == "span-corruption" and not sentinels:
        raise ConfigError(
            "span corruption needs sentinels for what is cut out", hint='use = "unigram", sentinels = 100'
        )
