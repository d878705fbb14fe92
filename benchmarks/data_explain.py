"""How long `lamina data explain` takes: `python benchmarks/data_explain.py [100000]`.

Writes the files of a corpus of so many documents as a build would have left them (no build: the Parquet files are made
directly), asks for documents in every way, and prints the seconds of each question and the size of the files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.corpus import DOCUMENTS, LEDGER
from lamina.data.explain import explain
from lamina.data.explain_words import describe
from lamina.data.parts import PartWriter
from lamina.data.signals import GROUP
from lamina.data.units import DROPPED
from lamina.kit.errors import NotFoundError
from lamina.kit.identity import blake3_hex

_SIGNALS = 30  # columns
_LOST = 5  # one document in so many falls to a rule, one to a duplicate
_WORDS = 240  # of a document
_AT_ONCE = 1000  # documents
_SEEN = 1000  # dropped documents of a step whose texts are kept
NOWHERE = "nobody ever wrote these words"
_RULE = {"label": "03 decide words", "kind": "decide", "expression": "signal_0 >= 0.1", "reason": "too few words"}


def write_corpus(folder: Path, documents: int) -> None:
    """The files that ``explain`` reads, of ``documents`` collected ones: kept ones, ledger, signals, samples."""
    (folder / "data").mkdir(parents=True)
    (folder / "signals").mkdir()
    (folder / "signals" / "steps.json").write_bytes(orjson.dumps({"steps": [_RULE]}))
    names = [f"signal_{n}" for n in range(_SIGNALS)]
    signals = pa.schema(
        [("id", pa.string()), ("source", pa.string()), *((n, pa.float64()) for n in names), ("url", pa.string())]
    )
    kept = pa.schema([*DOCUMENTS, *(pa.field(n, pa.float64()) for n in names)])
    with (
        PartWriter(folder / "data" / "train-00000-of-00001.parquet", kept) as out,
        PartWriter(folder / "ledger.parquet", LEDGER) as ledger,
        PartWriter(folder / "signals" / "phase-0.parquet", signals, group=GROUP) as measured,
        PartWriter(folder / "dropped.parquet", DROPPED) as dropped,
    ):
        for begin, texts in _texts(documents):
            batch = _documents(begin, texts)
            values = {n: np.random.default_rng([begin, k]).random(len(texts)) for k, n in enumerate(names)}
            whole = _table(kept, {**batch, **values}, len(texts))
            fate = np.arange(begin, begin + len(texts)) % _LOST
            out.write(whole.filter(pa.array(fate > 1)))
            measured.write(whole.select(signals.names))
            ledger.write(_decisions(batch, fate))
            if begin < _LOST * _SEEN:
                gone = whole.filter(pa.array(fate <= 1))
                steps = {"step": [_RULE["label"]] * len(gone), "reason": ["short"] * len(gone)}
                dropped.write(_table(DROPPED, {n: gone[n] for n in ("id", "source", "text")} | steps, len(gone)))


def _texts(documents: int) -> Iterator[tuple[int, list[str]]]:
    words = np.array([f"{a}{b}{c}" for a in ("whale", "ship", "rope") for b in "aeiou" for c in ("ing", "er", "s", "")])
    for begin in range(0, documents, _AT_ONCE):
        count = min(_AT_ONCE, documents - begin)
        draw = np.random.default_rng(begin).choice(words, (count, _WORDS))
        yield begin, [f"Number{begin + n} {' '.join(row)}" for n, row in enumerate(draw)]


def _documents(begin: int, texts: list[str]) -> dict[str, list[str]]:
    numbers = range(begin, begin + len(texts))
    return {
        "id": [_id(n) for n in numbers],
        "text": texts,
        "source": [f"site-{n % 7}" for n in numbers],
        "url": [f"https://site-{n % 7}.example/pages/{n}?part=1" for n in numbers],
    }


def _id(number: int) -> str:
    return blake3_hex(str(number))[:32]


def _decisions(batch: dict[str, list[str]], fate: np.ndarray) -> pa.RecordBatch:
    """An edit of every document; a rule or a keeper for those that fell."""
    rows: list[tuple[str | None, ...]] = []
    edit = orjson.dumps({"characters": [1500, 1490], "spans": [[n, n + 1, " ", ""] for n in range(12)]}).decode()
    for id, source, how in zip(batch["id"], batch["source"], fate.tolist(), strict=True):
        rows.append((id, source, "01 transform normalize", "edit", "text", None, None, edit))
        if how == 0:
            rows.append((id, source, _RULE["label"], "drop", "short", '{"signal_0":0.05}', "signal_0 >= 0.1", None))
        if how == 1:
            said = orjson.dumps({"keeper": batch["id"][2], "jaccard": 0.93}).decode()
            rows.append((id, source, "04 pass duplicates", "duplicate", "near duplicate", "0.93", "0.8", said))
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=LEDGER)


def _table(schema: pa.Schema, columns: dict[str, object], rows: int) -> pa.RecordBatch:
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(rows, f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def questions(corpus: Path, documents: int) -> dict[str, str]:
    """Ways to ask, with what each asks for: documents in the middle or at the end."""
    far = documents // 2 // _LOST * _LOST
    kept = pq.ParquetFile(corpus / "data" / "train-00000-of-00001.parquet")
    last = kept.read_row_group(kept.num_row_groups - 1, columns=["text"])["text"][0].as_py()
    dropped = pq.read_table(corpus / "dropped.parquet", columns=["text"])["text"][-1].as_py()
    return {
        "id of a kept one": _id(far + 2),
        "id of a dropped one": _id(far),
        "id of a duplicate": _id(far + 1),
        "a keeper of many": _id(2),
        "address of a kept one": f"https://site-{(far + 3) % 7}.example/pages/{far + 3}?part=1",
        "address of a dropped one": f"http://site-{far % 7}.example/pages/{far}?utm_source=x&part=1#top",
        "words of a kept text": last[:60],
        "words of a dropped text": dropped[:60],
        "words of no text": NOWHERE,
    }


def measure(corpus: Path, documents: int) -> dict[str, float]:
    """Seconds of each question, its answer in words included."""
    found = {}
    for name, query in questions(corpus, documents).items():
        begin = time.perf_counter()
        try:
            describe(explain(corpus, query))
        except NotFoundError:
            if query != NOWHERE:
                raise
        found[name] = time.perf_counter() - begin
    return found


def main() -> None:
    """Write the corpus and print the seconds."""
    wanted = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    wanted.add_argument("documents", type=int, nargs="?", default=100_000)
    told = wanted.parse_args()
    with TemporaryDirectory() as name:
        corpus = Path(name) / "corpus"
        write_corpus(corpus, told.documents)
        size = sum(file.stat().st_size for file in corpus.rglob("*") if file.is_file())
        print(f"{told.documents:,} documents, {size / 1e6:.0f} MB")
        for question, seconds in measure(corpus, told.documents).items():
            print(f"  {seconds:6.2f} s  {question}")


if __name__ == "__main__":
    main()
