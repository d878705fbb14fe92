"""``[[data.augment]]``: tables checked before any work, and the files and packages they name on this machine."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.data.augment.translators import OWN, names_in
from lamina.kit.durable import sha256_file
from lamina.kit.errors import ConfigError, LaminaError
from lamina.kit.progress import Progress
from lamina.kit.registry import AUGMENTERS
from lamina.recipes.collect import cache_folder, locate
from lamina.recipes.stack import Stack
from lamina.recipes.translating import OwnTranslator, own_translators

if TYPE_CHECKING:
    from lamina.data.augment.corpus import Augmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """What of augmentation goes into the corpus' stage: as in ``kit.stages.Stage``."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)


def check(stack: Stack) -> None:
    """Refuse tables that cannot be, before anything is fetched. Raises ``ConfigError``."""
    if stack.data is None or not stack.data.augment:
        return
    from lamina.data.augment.plan import check_share, plan_augment

    try:
        check_share(stack.data.augmentation.max_share)
        plan_augment(stack.data.augment, files=False)
    except ConfigError as error:
        raise _in_file(error, stack) from None


def place(stack: Stack, sources: Sequence[str], progress: Progress) -> Placing:
    """Fetch what the tables name; ``sources``: the names of the stack's sources. Nothing where there is no table."""
    if stack.data is None or not stack.data.augment:
        return Placing()
    from lamina.data.augment.plan import named_files

    tables = [dict(table) for table in stack.data.augment]
    for number, table in enumerate(tables):
        for name in table.get("sources", ()):
            if name not in sources:
                close = difflib.get_close_matches(str(name), sources, n=1)
                advice = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sources)}"
                where = f"{stack.file.name}: data.augment.{number}.sources"
                raise ConfigError(f"there is no source '{name}'", where=where, hint=advice)
    places: dict[str, dict[str, str]] = {}
    for name, location in named_files(tables):
        try:
            found = locate(stack, location, progress)
        except LaminaError as error:
            raise type(error)(f"data.augment.{name}: {error.what}", where=error.where, hint=error.hint) from None
        places[name] = {"path": str(found.path), "sha256": found.sha256}
    models = own_translators(stack, tables)
    _held_out_pairs(tables, models, places)
    options = stack.data.augmentation
    translators = {"translators": _identity(models)} if models else {}
    return Placing(
        parameters={
            "augment": {
                **translators,
                "tables": tables,
                "files": {name: found["sha256"] for name, found in places.items()},
                "max_share": options.max_share,
                "seed": options.seed,
            }
        },
        versions={f"augmenter {name}": AUGMENTERS.get(name).version for name in {str(t["use"]) for t in tables}},
        context={"places": places, "thesauri": str(cache_folder(stack) / "thesauri"), "own": _served(stack)}
        | ({"translators": [model.folder for model in models]} if models else {}),
    )


def _identity(models: Sequence[OwnTranslator]) -> list[str]:
    """What decides whether the corpus is stale: other stacks' models by their content; of the stack's own only that
    there is one, since it may itself have learned from the corpus."""
    return [OWN if model.own else model.digest for model in models]


def _held_out_pairs(
    tables: Sequence[dict[str, Any]], models: Sequence[OwnTranslator], places: dict[str, dict[str, str]]
) -> None:
    """Let tables that name the stack's own model, and no pairs, take the held-out rows of the first that has some."""
    pairs = next((model.pairs for model in models if model.pairs), None)
    for number, table in enumerate(tables):
        if pairs is not None and "parallel" not in table and OWN in names_in(table.get("translator", ())):
            table["parallel"] = "held-out rows"
            places[f"{number}.parallel"] = {"path": pairs, "sha256": sha256_file(Path(pairs))}


def opened(parameters: Mapping[str, Any], context: Mapping[str, Any]) -> Augmentation | None:
    """From a stage's parameters and context what the pipeline takes; None where there is no table."""
    told = parameters.get("augment")
    if not told:
        return None
    from lamina.data.augment.corpus import Augmentation
    from lamina.data.augment.plan import Placed

    return Augmentation(
        tables=told["tables"],
        places={name: Placed(**found) for name, found in context["places"].items()},
        max_share=told["max_share"],
        seed=told["seed"],
        own=context["own"],
        thesauri=Path(context["thesauri"]),
    )


def _served(stack: Stack) -> str:
    """Where this stack's own model answers."""
    host = stack.interface.host
    host = "127.0.0.1" if host in ("0.0.0.0", "") else "[::1]" if host == "::" else host
    return f"http://{host}:{stack.interface.port}/v1"


def _in_file(error: ConfigError, stack: Stack) -> ConfigError:
    where = f"{stack.file.name}: {error.where}" if error.where else stack.file.name
    return ConfigError(error.what, where=where, hint=error.hint)
