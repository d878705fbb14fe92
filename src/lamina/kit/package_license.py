"""The licence that a package states, as an SPDX expression where its words allow; None where it states none."""

from __future__ import annotations

import json
import re
from email import message_from_bytes
from pathlib import Path

from lamina.kit.unpack import read_member

_CLASSIFIERS = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "The Unlicense (Unlicense)": "Unlicense",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
}
_WORDS = {
    "mit": "MIT",
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc0-1.0": "CC0-1.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-3.0": "CC-BY-SA-3.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache2": "Apache-2.0",
    "mit license": "MIT",
    "the mit license": "MIT",
    "gpl-2+": "GPL-2.0-or-later",
    "gpl-3+": "GPL-3.0-or-later",
    "gpl-2": "GPL-2.0-only",
    "gpl-3": "GPL-3.0-only",
}


def package_license(kind: str, archive: Path) -> str | None:
    """What ``archive`` of a ``kind`` (pypi, npm, deb) says."""
    if kind == "pypi":
        return _wheel(read_member(archive, lambda n: n.endswith(".dist-info/METADATA") and n.count("/") == 1))
    if kind == "npm":
        return _npm(read_member(archive, lambda n: n.endswith("/package.json") and n.count("/") == 1))
    wanted = re.compile(r"(\./)?usr/share/doc/[^/]+/copyright")
    return _debian(read_member(archive, lambda n: wanted.fullmatch(n) is not None))


def card_license(folder: Path) -> str | None:
    """What the front matter of a Hugging Face card (README.md) says."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    matter = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:\s*['\"]?([A-Za-z0-9.+-]+)", matter[1], re.MULTILINE) if matter else None
    return _normal(found[1]) if found else None


def _wheel(data: bytes | None) -> str | None:
    if data is None:
        return None
    metadata = message_from_bytes(data)
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression).strip()
    stated = str(metadata.get("License") or "").strip()
    if stated and "\n" not in stated and len(stated) <= 60 and stated.upper() != "UNKNOWN":
        return _normal(stated)
    for classifier in metadata.get_all("Classifier") or []:
        if classifier.startswith("License ::"):
            last = classifier.rsplit("::", 1)[1].strip()
            return _CLASSIFIERS.get(last, last)
    return None


def _npm(data: bytes | None) -> str | None:
    try:
        stated = json.loads(data or b"{}").get("license")
    except (ValueError, AttributeError):
        return None
    if isinstance(stated, dict):
        stated = stated.get("type")
    return _normal(stated) if isinstance(stated, str) and stated else None


def _debian(data: bytes | None) -> str | None:
    """The licences of a machine-readable copyright file (DEP-5), joined: all of them hold for some file."""
    names = re.findall(r"^License:[ \t]*(\S[^\n]*)", (data or b"").decode("utf-8", "replace"), re.MULTILINE)
    unique = list(dict.fromkeys(_normal(name.strip()) for name in names))
    return " AND ".join(f"({n})" if " " in n and len(unique) > 1 else n for n in unique[:8]) or None


def _normal(words: str) -> str:
    return _WORDS.get(words.strip().lower(), words.strip())
