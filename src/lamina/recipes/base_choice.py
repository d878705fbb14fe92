"""``[model] base = "auto"``: a published model by this machine's memory and speed, the time, and what can be reached.

The choice is made once: ``lamina.lock`` keeps it, with the reason, so that the stack is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.config import seconds
from lamina.kit.errors import ConfigError, FetchError, NotFoundError
from lamina.kit.lock import Lock, LockChoice
from lamina.kit.packages import at_hand, reach
from lamina.kit.progress import Progress
from lamina.recipes.architectures import AUTO
from lamina.recipes.base_models import Machine, Use, ranked, why_not
from lamina.recipes.train_parameters import DEFAULT_BUDGET

if TYPE_CHECKING:
    from lamina.recipes.stack import ModelSection, Stack

_WITHOUT = (
    'name a model that is here: base = "FOLDER" or "FILE.gguf"; or let the client reach its registry (pip\'s and the '
    'hub\'s own settings hold); or train a fresh one: architecture = "gpt", preset = "tiny", method = "full"'
)


def base_of(stack: Stack, progress: Progress, *, cache: Path, choose: bool = True) -> str | tuple[str, ...]:
    """The location of the stack's base model, or its mirrors; where it is "auto", what was chosen, or is chosen now.

    Raises ``NotFoundError`` where it is to be chosen and ``choose`` is false, else as ``choose_base``.
    """
    model = stack.model
    if model is None or model.base is None:
        raise ConfigError("has no [model] base", where=stack.file.name)
    if model.base != AUTO:
        return model.base
    chosen = chosen_base(stack)
    if chosen is None and not choose:
        raise NotFoundError("is not chosen yet", where="model.base", hint="lamina up chooses")
    if chosen is None:
        use = use_of(model)
        lock = Lock(stack.lock)
        chosen = choose_base(use, measured(model), lambda place: _reached(place, cache, lock))
        lock.choose(_key(model), chosen)
        progress.say(f"base model: {chosen.location}: {chosen.why}")
    return chosen.location


def chosen_base(stack: Stack) -> LockChoice | None:
    """What ``lamina.lock`` has for ``base = "auto"``; None before the choice, and where the stack names a base."""
    if stack.model is None or stack.model.base != AUTO:
        return None
    return Lock(stack.lock).choice(_key(stack.model))


def told_base(stack: Stack) -> dict[str, Any] | None:
    """The choice as plain values: for ``lamina status`` and a run's record."""
    chosen = chosen_base(stack)
    return None if chosen is None else {"location": chosen.location, "why": chosen.why}


def use_of(model: ModelSection) -> Use:
    """What the stack wants a base for."""
    train = model.train
    if train is None:
        return Use()
    timed = train.steps is None and train.tokens is None and train.epochs is None
    return Use(
        objective=train.objective,
        method=train.method,
        tokens=train.batch * train.length,
        budget_s=seconds(train.budget or DEFAULT_BUDGET, where="model.train.budget") if timed else None,
    )


def choose_base(use: Use, machine: Machine, reached: Callable[[str], str]) -> LockChoice:
    """The largest model that fits and that can be had. ``reached`` says how a location can be had, or raises
    ``FetchError`` or ``NotFoundError``.

    Raises ``ConfigError`` where none fits, ``FetchError`` where none of those that fit can be had.
    """
    fitting, refused = ranked(use, machine)
    if not fitting:
        listed = "; ".join(f"{name} {why}" for name, why in refused.items())
        raise ConfigError(f"no base model fits this machine ({machine}): {listed}", where="model.base", hint=_WITHOUT)
    unreached: list[str] = []
    for model in fitting:
        for place in model.places:
            try:
                how = reached(place)
            except (FetchError, NotFoundError) as error:
                unreached.append(f"{place}: {error.what}")
                continue
            slow = why_not(model, use, machine)
            size = "the largest that fits and can be had" if slow is None else f"the smallest, though it {slow}"
            why = [f"{size} ({how})", f"{machine}"]
            why += [f"{name} {reason}" for name, reason in refused.items()]
            why += [f"not had: {', '.join(p.partition(': ')[0] for p in unreached)}"] if unreached else []
            return LockChoice(location=place, why=f"{model.name}, {'; '.join(why)}")
    raise FetchError(
        "none of the base models that fit this machine can be had:\n  " + "\n  ".join(unreached),
        where="model.base",
        hint=_WITHOUT,
    )


def measured(model: ModelSection) -> Machine:
    """This machine: a fraction of a second of products and of reading."""
    from lamina.kit.workers import cores
    from lamina.model.device import choose_device, memory_of, product_rate, read_rate

    device = choose_device("auto" if model.train is None else model.train.device, where="model.train.device")
    return Machine(
        memory=memory_of(device),
        cores=cores(),
        products=product_rate(device),
        bandwidth=read_rate(device),
        device="cuda" if device.type == "cuda" else "cpu",
    )


def _reached(place: str, cache: Path, lock: Lock) -> str:
    if at_hand(place, cache=cache, lock=lock):
        return "it is on this machine already"
    reach(place, cache=cache, lock=lock)
    return "its registry answers"


def _key(model: ModelSection) -> str:
    return f"model.base ({use_of(model).objective})"
