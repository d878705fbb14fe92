"""``[deployment.adapters]``: LoRA adapters beside the served model, from the stack file on and by requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.kit.errors import ConfigError, LaminaError, NotFoundError
from lamina.recipes.current import recall
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from lamina.deployment.adapters import AdapterAsking, AdapterLimits


def adapter_limits(stack: Stack) -> AdapterLimits:
    """What may be loaded, and from where: the state, and the folders that the stack file names."""
    from lamina.deployment.adapters import AdapterLimits

    deployment = stack.deployment
    if deployment.max_adapters < 0 or deployment.max_lora_rank < 1:
        raise ConfigError("'max_adapters' from 0 on, 'max_lora_rank' from 1 on", where="deployment")
    try:
        base = recall(stack).base
    except NotFoundError:
        base = None
    return AdapterLimits(
        folders=(stack.state, *(stack.folder / folder for folder in deployment.adapters_from)),
        most=deployment.max_adapters,
        most_rank=deployment.max_lora_rank,
        base=base,
        reserved=("champion", "challenger", stack.name),
    )


def add_adapters(stack: Stack, service: AdapterAsking) -> None:
    """Load those that the stack file names. Raises ``ConfigError`` that names the first that cannot be served."""
    for name, folder in stack.deployment.adapters.items():
        try:
            service.add_adapter(name, stack.folder / folder)
        except LaminaError as error:
            raise ConfigError(str(error), where=f"deployment.adapters.{name}") from error
