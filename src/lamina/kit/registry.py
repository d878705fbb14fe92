"""The doors of the house: a registered function is a component, its keyword-only parameters are its configuration.

A door knows the folders of its components by name and scans them at first use, so that no room imports its plug-ins.
Installed packages may add components through entry points of the group ``lamina.<door>``.

    @STEPS("language", kind="signal", version=1)
    def language(batch, *, max_chars: int = 2000): ...
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, TypeVar

from lamina.kit.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Component:
    """A registered function. A change of ``version`` makes what it produced stale."""

    name: str
    kind: str
    version: int
    function: Callable[..., Any]

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The keyword-only parameters, which are the configuration."""
        signature = inspect.signature(self.function, eval_str=True)
        return {n: p for n, p in signature.parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


class Registry:
    """One door: components by name."""

    def __init__(self, door: str, noun: str, folders: tuple[str, ...]) -> None:
        self.door = door
        self.noun = noun
        self._folders = folders
        self._components: dict[str, Component] = {}
        self._scanned = False

    def __call__(self, name: str, *, kind: str = "", version: int = 1) -> Callable[[F], F]:
        """Register the decorated function under ``name``."""

        def register(function: F) -> F:
            standing = self._components.get(name)
            if standing and standing.function.__module__ != function.__module__:
                raise ConfigError(
                    f"two {self.noun}s are called '{name}'",
                    where=f"{standing.function.__module__} and {function.__module__}",
                )
            self._components[name] = Component(name, kind, version, function)
            return function

        return register

    def get(self, name: str, *, kind: str = "") -> Component:
        """The component of this name (and kind, where one is given), or an error that names the neighbours."""
        self._scan()
        component = self._components.get(name)
        if component and (not kind or component.kind == kind):
            return component
        known = sorted(c.name for c in self._components.values() if not kind or c.kind == kind)
        close = difflib.get_close_matches(name, known, n=1)
        raise ConfigError(
            f"there is no {kind or self.noun} '{name}'",
            hint=(f"did you mean '{close[0]}'? " if close else "") + "known: " + ", ".join(known),
        )

    def __iter__(self) -> Iterator[Component]:
        self._scan()
        return iter(sorted(self._components.values(), key=lambda c: c.name))

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        for folder in self._folders:
            package = importlib.import_module(folder)
            for module in pkgutil.iter_modules(package.__path__, folder + "."):
                importlib.import_module(module.name)
        for entry in entry_points(group=f"lamina.{self.door}"):
            entry.load()


SOURCES = Registry("sources", "source", ("lamina.data.sources",))
STEPS = Registry("steps", "step", ("lamina.data.clean",))
AUGMENTERS = Registry("augmenters", "augmenter", ("lamina.data.augment",))
