"""Small corpora, and a tokenizer of each kind trained on one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.tokenizer.train import train_tokenizer

ENGLISH = "The whale and the ship went to the island, and the keeper of the lighthouse saw them at 10 o'clock. "
GERMAN = "Größere Wale schwimmen über den Äquator; der Wärter übersieht sie nicht. "
CODE = "def whale(x):\n    if x > 10:\n        return x + 1\n\n"


def write_corpus(folder: Path, sources: Mapping[str, Sequence[str]], split: str = "train") -> Path:
    """A corpus folder with the texts of each source."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"{source}-{i}", "text": text, "source": source, "split": split}
        for source, texts in sources.items()
        for i, text in enumerate(texts)
    ]
    name = {"train": "train", "held-out": "held_out"}[split]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=DOCUMENTS),
        folder / "data" / f"{name}-00000-of-00001.parquet",
        row_group_size=3,
    )
    return folder


@pytest.fixture(scope="session")
def corpus_of() -> Callable[..., Path]:
    """``corpus_of(folder, {"sea": [text, …]}, "train")``: a corpus folder."""
    return write_corpus


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources, some held-out documents."""
    folder = tmp_path_factory.mktemp("tokenizers") / "corpus"
    sources = {"sea": [ENGLISH * (n + 3) for n in range(6)], "wal": [GERMAN * 5] * 3, "code": [CODE * 8] * 3}
    write_corpus(folder, sources)
    return write_corpus(folder, {name: texts[:2] for name, texts in sources.items()}, "held-out")


@pytest.fixture(scope="session")
def trained(small_corpus: Path) -> Callable[..., Path]:
    """``trained("bpe", vocabulary=400)``: the folder of a tokenizer, made once."""
    made: dict[str, Path] = {}

    def make(use: str, vocabulary: int = 700, **settings: object) -> Path:
        name = "-".join(map(str, [use, vocabulary, *settings.values()]))
        if name not in made:
            made[name] = small_corpus.parent / name
            train_tokenizer(small_corpus, made[name], use=use, vocabulary=vocabulary, **settings)  # type: ignore[arg-type]
        return made[name]

    return make
