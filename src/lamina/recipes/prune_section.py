"""``[deployment.prune]``: what is cut out of the model before it is served."""

from __future__ import annotations

from dataclasses import dataclass

from lamina.kit.config import seconds
from lamina.kit.errors import ConfigError
from lamina.recipes.train_section import TrainSection


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSection:
    """Shares that go, and how long the smaller model then learns from the one that it was cut from."""

    depth: float = 0.0  # of the blocks
    heads: float = 0.0  # of each block's key-value heads, with the queries that share them
    width: float = 0.0  # of each block's feed-forward channels
    vocabulary: bool = False  # whether tokens go that the training documents do not use
    least: int = 1  # times that a token occurs in them, or it goes, too
    common: int = 8192  # of the base's most frequent tokens, which stay in any case
    recover: str = "10m"  # wall clock

    def __post_init__(self) -> None:
        for name in ("depth", "heads", "width"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} is not a share from 0 to below 1")
        if not (self.depth or self.heads or self.width or self.vocabulary):
            raise ConfigError("names nothing that goes", hint="depth = 0.2, vocabulary = true")
        if self.common < 0 or self.least < 1:
            raise ConfigError(f"common = {self.common}, least = {self.least}: from 0 and from 1 on")
        if not seconds(self.recover, where="deployment.prune.recover"):
            raise ConfigError("a pruned model needs time to recover", where="deployment.prune.recover")


def check_prune(section: PruneSection | None, *, collects: bool, train: TrainSection | None, where: str) -> None:
    """Raise ``ConfigError`` where a stack has nothing that a pruned model could recover on."""
    if section is None:
        return
    if not collects:
        raise ConfigError("a pruned model recovers on documents: [[data.sources]]", where=f"{where}: deployment.prune")
    if train is not None and train.objective != "causal-lm":
        raise ConfigError(
            f'only a model that goes on with texts is pruned, not one of "{train.objective}"',
            where=f"{where}: deployment.prune",
        )
