"""Small corpora with a plan: texts about a few things, in words that can be counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS

THEMES = {
    "sea": "whale harpoon sail deck captain ocean voyage mast anchor harbour tide sailor",
    "law": "court judge verdict jury statute lawyer appeal prosecutor trial clause plaintiff witness",
    "kitchen": "flour butter oven onion simmer garlic dough saucepan recipe spoon pepper roast",
}


@pytest.fixture(scope="session")
def themes() -> Mapping[str, str]:
    """Themes and the words that only they have."""
    return THEMES


@pytest.fixture(scope="session")
def theme_texts() -> Callable[..., list[str]]:
    """``theme_texts(theme, count, seed=…, size=…)``: texts of a theme's words with function words among them."""
    return _texts


@pytest.fixture(scope="session")
def mixed() -> Callable[..., list[dict[str, Any]]]:
    """``mixed(each)``: rows of all themes, so many of each, by four authors a theme."""

    def make(each: int = 40) -> list[dict[str, Any]]:
        return [
            {"text": text, "source": theme, "language": "en", "author": f"{theme} {number % 4}"}
            for theme in THEMES
            for number, text in enumerate(_texts(theme, each))
        ]

    return make


def _texts(theme: str, count: int, *, seed: int = 0, size: int = 60) -> list[str]:
    names = [*THEMES[theme].split(), "the", "and", "of"]
    random = np.random.default_rng([seed, len(theme), ord(theme[0])])
    return [" ".join(random.choice(names, size)) for _ in range(count)]


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """``corpus(rows, name=…)``: a corpus folder whose documents are ``rows`` (mappings with a text)."""

    def make(rows: Sequence[Mapping[str, Any]], *, name: str = "corpus", files: int = 1, group: int = 64) -> Path:
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        full = [
            {"id": f"d{n}", "source": "s", "collected": datetime(2026, 5, 1, tzinfo=UTC)} | dict(row)
            for n, row in enumerate(rows)
        ]
        for number in range(files):
            table = pa.Table.from_pylist(full[number::files], schema=DOCUMENTS)
            pq.write_table(table, folder / "data" / f"train-{number:05d}.parquet", row_group_size=group)
        return folder

    return make
