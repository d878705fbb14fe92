"""The forms of registry locations: ``pypi:name==version`` and its like, in parts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lamina.kit.errors import ConfigError

_PYPI = re.compile(r"(?P<name>[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)(==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*))?")
_NPM = re.compile(r"(?P<name>(@[a-z0-9~][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*)(@(?P<version>\d[A-Za-z0-9.+-]*))?")
_DEB = re.compile(r"(?P<name>[a-z0-9][a-z0-9+.-]+)(=(?P<version>[A-Za-z0-9][A-Za-z0-9.+:~-]*))?")
_HF = re.compile(r"(?P<name>(datasets/)?[\w][\w.-]*(/[\w][\w.-]*)?)(@(?P<version>[\w][\w./-]*))?", re.ASCII)
#: Kinds of registries: how their locations are read, and how they are written.
FORMS = {
    "pypi": (_PYPI, "pypi:name==version"),
    "npm": (_NPM, "npm:@scope/name@version"),
    "deb": (_DEB, "deb:name=version"),
    "hf": (_HF, "hf:org/name@revision"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A registry location in parts; ``version`` None: the newest."""

    kind: str
    name: str
    version: str | None


def parse(location: str) -> Wanted:
    """The parts of ``location``. Raises ``ConfigError`` where it has not its registry's form."""
    kind, rest = location.split(":", 1)
    pattern, form = FORMS[kind]
    if kind == "pypi" and rest.endswith("?sdist"):
        raise ConfigError(
            "source distributions are not fetched: preparing one would run its build",
            where=location,
            hint="fetch and unpack it yourself and name the folder",
        )
    found = pattern.fullmatch(rest)
    if found is None or ".." in rest:
        raise ConfigError("not a package location", where=location, hint=f"the form is {form}")
    return Wanted(kind, found["name"], found["version"])
