"""``[[data.augment]]`` tables, checked before any work and put into the form that workers take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lamina.data.augment.children import NO_ROWS, ONE_EMPTY
from lamina.data.augment.lexicon import LEXICON
from lamina.data.augment.parallel import read_parallel
from lamina.data.augment.tags import primary
from lamina.data.augment.thesauri import compile_thesaurus
from lamina.data.augment.translators import CTRANSLATE2, names_in, open_translator
from lamina.kit.config import bind, resolved
from lamina.kit.durable import is_published, publish
from lamina.kit.errors import ConfigError, InputError, LaminaError
from lamina.kit.identity import blake3_hex
from lamina.kit.registry import AUGMENTERS

MAX_SHARE = 0.3
_OWN = ("use", "copies", "share", "sources", "languages")
FILES = ("thesaurus", "glossary", "misspellings", "parallel")  # parameters that name a file, a folder or a package
_PACKAGES = ("npm", "pypi", "deb", "hf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where something that a table names lies on this machine, and the sha256 of its content."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One table: ``copies`` children by ``use`` of a ``share`` of the training documents (of ``sources``, in
    ``languages``; empty: all). ``label`` tells two tables of the same use apart; ``told`` are the parameters as the
    stack file has them, without this machine's paths: what children record.
    """

    use: str
    label: str
    version: int
    copies: int
    share: float
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    parameters: Mapping[str, Any]
    told: Mapping[str, Any]

    def fits(self, source: str | None, language: str | None) -> bool:
        """Whether a document of this source in this language is of those that the operation is meant for."""
        if self.sources and source not in self.sources:
            return False
        return not self.languages or primary(language) in self.languages

    def json(self) -> dict[str, Any]:
        """As plain values, for a worker's payload."""
        return {**asdict(self), "parameters": dict(self.parameters), "told": dict(self.told)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Operation:
        """From what ``json`` gave."""
        return cls(**{**values, "sources": tuple(values["sources"]), "languages": tuple(values["languages"])})


def plan_augment(
    tables: Sequence[Mapping[str, Any]],
    *,
    places: Mapping[str, Placed] | None = None,
    work: Path | None = None,
    where: str = "data.augment",
    files: bool = True,
) -> tuple[Operation, ...]:
    """The operations of ``[[data.augment]]``, or a ``ConfigError`` that names the table and its mistake.

    ``places``: where the files and packages lie that tables name, by "0.thesaurus"; what is not in it is a path. Files
    must be there, unless ``files`` is false: then only the tables are checked. With a folder ``work``, each thesaurus
    is read now and kept in it as arrays, so that workers load it in milliseconds.
    """
    operations: list[Operation] = []
    for number, table in enumerate(tables):
        place = f"{where}.{number}"
        if "use" not in table:
            known = ", ".join(component.name for component in AUGMENTERS)
            raise ConfigError("the key 'use' is missing", where=place, hint=f"known: {known}")
        try:
            component = AUGMENTERS.get(str(table["use"]))
        except ConfigError as error:
            raise ConfigError(error.what, where=place, hint=error.hint) from None
        own = {key: table[key] for key in _OWN if key in table}
        parameters = _bound(component.function, {k: v for k, v in table.items() if k not in _OWN}, place)
        told = dict(parameters)
        copies, share = _amounts(own, place)
        if component.name == "back_translation":
            parameters["translator"] = _translators(parameters["translator"], number, places or {})
            _check_translator(parameters, place, files)
        _run_on(NO_ROWS, component.function, parameters, place)
        if files:
            _place(parameters, number, places or {}, work, place)
            if component.name != "back_translation":
                _run_on(ONE_EMPTY, component.function, parameters, place)
        same = sum(o.use == component.name for o in operations)
        operations.append(
            Operation(
                use=component.name,
                label=component.name if not same else f"{component.name}-{same + 1}",
                version=component.version,
                copies=copies,
                share=share,
                sources=_names(own.get("sources", ()), f"{place}.sources"),
                languages=tuple(primary(n) for n in _names(own.get("languages", ()), f"{place}.languages")),
                parameters=parameters,
                told=told,
            )
        )
    return tuple(operations)


def named_files(tables: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """("0.thesaurus", what it says) of each value that names a file, a folder or a package to be fetched."""
    named = [
        (f"{number}.{key}", table[key])
        for number, table in enumerate(tables)
        for key in FILES
        if isinstance(table.get(key), str)
    ]
    return named + [
        (f"{number}.translator.{n}", name.removeprefix(CTRANSLATE2))
        for number, table in enumerate(tables)
        for n, name in enumerate(names_in(table.get("translator", ())))
        if name.startswith(CTRANSLATE2)
    ]


def keep_share(
    parents: int,
    operations: Sequence[Operation],
    max_share: float,
    *,
    reach: Callable[[Operation], int] | None = None,
) -> float:
    """Which share of the children that could be made the budget has room for, 0 to 1; ``parents`` in characters.

    Children make up at most ``max_share`` of the training characters in the end, so that m / (1 - m) characters of
    children fall to one of the documents. A child is about as long as its parent. ``reach``: the characters of the
    documents that an operation is meant for, where it is for some sources or languages.
    """
    check_share(max_share)
    # What cannot be told counts for nothing, so that rather too many children are made than too few: the cut is exact.
    wanted = sum(o.copies * o.share * _reached(o, parents, reach) for o in operations)
    return min(1.0, budget(parents, max_share) / wanted) if wanted else 1.0


def check_share(max_share: float) -> None:
    """Raises ``ConfigError`` for what is no share of the training characters."""
    if not 0 < max_share < 1:
        raise ConfigError(
            f"max_share is {max_share}; children's share of the characters, above 0 and below 1",
            where="data.augmentation",
        )


def _reached(operation: Operation, parents: int, reach: Callable[[Operation], int] | None) -> int:
    if not operation.sources and not operation.languages:
        return parents
    return reach(operation) if reach else 0


def budget(parents: int, max_share: float) -> int:
    """The characters that children of ``parents`` characters of documents may have."""
    return int(parents * max_share / (1 - max_share))


def _amounts(own: Mapping[str, Any], where: str) -> tuple[int, float]:
    copies, share = own.get("copies", 1), own.get("share", 1.0)
    if isinstance(copies, bool) or not isinstance(copies, int) or not 1 <= copies <= 100:
        raise ConfigError(f"copies is {copies!r}; children of each document, 1 to 100", where=where)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ConfigError(f"share is {share!r}; a share of the documents, above 0 and at most 1", where=where)
    return copies, float(share)


def _bound(function: Any, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    if "seed" in table:
        raise ConfigError("the key 'seed' stands in no table of its own", where=where, hint="data.augmentation.seed")
    values = bind(function, table, where=where)
    return dict(resolved({k: v for k, v in values.items() if k not in ("copies", "seed")}))


def _place(
    parameters: dict[str, Any], number: int, places: Mapping[str, Placed], work: Path | None, where: str
) -> None:
    """Put the places of files into ``parameters``; thesauri are read."""
    for key in FILES:
        if isinstance(parameters.get(key), str):
            found = places.get(f"{number}.{key}") or _at(parameters[key], f"{where}.{key}")
            parameters[key] = str(_compiled(found, work)) if work and key == "thesaurus" else found.path
    if parameters.get("parallel"):
        read_parallel(Path(parameters["parallel"]), "", "")


def _run_on(batch: pa.RecordBatch, function: Any, parameters: Mapping[str, Any], where: str) -> None:
    """Let an operation check its own parameters."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    try:
        function(batch, copies=1, seed=0, **values)
    except InputError as error:
        raise ConfigError(error.what, where=error.where or where, hint=error.hint) from None


def _at(value: str, where: str) -> Placed:
    """A path as it is; its time stands for its content."""
    if value.split(":", 1)[0] in _PACKAGES and ":" in value:
        raise ConfigError(f"the package '{value}' was not fetched", where=where)
    path = Path(value)
    if not path.exists():
        raise ConfigError(f"there is no file or folder '{value}'", where=where)
    return Placed(path=value, sha256=blake3_hex(str(path.resolve()), str(path.stat().st_mtime_ns)))


def _translators(names: str | Sequence[str], number: int, places: Mapping[str, Placed]) -> str | list[str]:
    """The translators with folders of models where they lie on this machine."""
    found = []
    for n, name in enumerate(names_in(names)):
        placed = places.get(f"{number}.translator.{n}")
        found.append(f"{CTRANSLATE2}{placed.path}" if placed else name)
    return found[0] if isinstance(names, str) else found


def _check_translator(parameters: Mapping[str, Any], where: str, files: bool) -> None:
    """Whether every translator that is named is there at all (models only with ``files``); nothing is asked of it
    yet."""
    own = {key: parameters[key] for key in ("temperature", "model", "remote")}
    names = names_in(parameters["translator"])
    if not names:
        raise ConfigError("no translator is named", where=f"{where}.translator", hint='for example ["apertium"]')
    for name in names:
        if name == "own":
            if files and not parameters.get("parallel"):
                what = "the stack's own model must show its chrF on held-out pairs, and none are named"
                raise ConfigError(what, where=f"{where}.parallel", hint="a file of texts in both languages")
            continue
        if name.startswith(CTRANSLATE2) and not files:
            continue
        try:
            open_translator(name, **own)
        except LaminaError as error:
            raise ConfigError(error.what, where=f"{where}.translator", hint=error.hint) from error
    if not parameters["pivots"]:
        raise ConfigError("no pivot languages are named", where=f"{where}.pivots", hint='for example ["es"]')


def _names(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{value!r} is not a list of names", where=where)
    return tuple(value)


def _compiled(thesaurus: Placed, work: Path) -> Path:
    """The thesaurus as a lexicon in ``work``, named by its content; read only where it is not there yet."""
    folder = work / f"thesaurus-{thesaurus.sha256[:24]}-{LEXICON}"
    if not is_published(folder):
        with publish(folder) as staging:
            compile_thesaurus(Path(thesaurus.path).resolve(), staging / "lexicon.npz")
    return folder / "lexicon.npz"
