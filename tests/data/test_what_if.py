"""Other thresholds on stored signals: figures against counting by hand, borders with their texts, labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data.clean.labels import Label
from lamina.data.labelling import propose
from lamina.data.parts import PartWriter
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.data.what_if import Amount, WhatIf, changes_of, what_if, with_examples
from lamina.data.what_if_border import thresholds
from lamina.data.what_if_fit import fit, plain
from lamina.data.what_if_signals import open_signals
from lamina.data.what_if_words import describe
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.progress import open_progress

ROWS = 6000
RULES = {
    "short": "words >= CASE WHEN language = 'zh' THEN 80 ELSE 50 END",
    "Gopher: repeats": "share <= 0.2",
    "named": "author_known AND words BETWEEN 10 AND 100000",
}


def signals(folder: Path, rows: int = ROWS, group: int = 1000) -> pl.DataFrame:
    """A corpus folder with made-up signals of two phases, as builds keep them."""
    draw = np.random.default_rng(5)
    frame = pl.DataFrame(
        {
            "id": [f"{n:08d}" for n in range(rows)],
            "source": draw.choice(["books", "web"], rows),
            "_characters": draw.integers(100, 9000, rows),
            "_bytes": draw.integers(9000, 9999, rows),
            "words": np.exp(draw.normal(5, 1, rows)).astype(np.int64),
            "share": draw.exponential(0.1, rows),
            "author_known": draw.random(rows) < 0.97,
            "language": draw.choice(["en", "zh"], rows),
        }
    ).with_columns(share=pl.when(pl.col("words") % 50 != 7).then("share"))
    decides = [
        pl.sql_expr(rule).alias(f"decide:{n:02d} decide {name}") for n, (name, rule) in enumerate(RULES.items(), 1)
    ]
    frame = frame.with_columns(decides)
    kept = frame.filter(pl.all_horizontal(pl.col("^decide:.*$").fill_null(True)))
    later = kept.select("id", "source", "_characters", "_bytes", score=pl.col("words") % 10)
    later = later.with_columns(pl.sql_expr("score >= 2").alias("decide:05 decide late"))
    (folder / "signals").mkdir(parents=True)
    for number, table in enumerate((frame.to_arrow(), later.to_arrow())):
        with PartWriter(folder / "signals" / f"phase-{number}.parquet", table.schema, group=group) as out:
            for batch in table.to_batches():
                out.write(batch)
    steps = [step(n, name, rule) for n, (name, rule) in enumerate(RULES.items(), 1)]
    steps += [step(4, "duplicates", "", kind="pass"), step(5, "late", "score >= 2", phase=1)]
    (folder / "signals" / "steps.json").write_bytes(orjson.dumps({"steps": steps}))
    return frame


def step(number: int, name: str, expression: str, *, kind: str = "decide", phase: int = 0) -> dict[str, Any]:
    label = f"{number:02d} {kind} {name}"
    return {"phase": phase, "label": label, "kind": kind, "expression": expression or None, "reason": name}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    folder = tmp_path_factory.mktemp("signals")
    return folder, signals(folder)


def amount(frame: pl.DataFrame, which: pl.Series) -> Amount:
    some = frame.filter(which)
    tokens = (some["_bytes"] / 4).round(0).sum()
    return Amount(some.height, int(tokens), int(some["_characters"].sum()))


def keeps(frame: pl.DataFrame, rules: Mapping[str, str]) -> dict[str, pl.Series]:
    found = {name: frame.select(v=pl.sql_expr(rule or "TRUE"))["v"] for name, rule in rules.items()}
    found = {
        name: v if len(v) == frame.height else pl.repeat(True, frame.height, eager=True) for name, v in found.items()
    }
    return {name: v.fill_null(True) for name, v in found.items()}


def rule(found: WhatIf, reason: str) -> Any:
    return next(r for r in found.rules if r.reason == reason)


@pytest.mark.parametrize(
    "changes",
    [{}, {"short": "words >= 200"}, {"repeats": "", "short": "words >= 20"}, {"2": "share <= 0.05", "named": ""}],
)
def test_figures_are_those_of_counting_by_hand(made: tuple[Path, pl.DataFrame], changes: dict[str, str]) -> None:
    corpus, frame = made
    found = what_if(corpus, changes)
    names = {"repeats": "Gopher: repeats", "2": "Gopher: repeats"}
    now = RULES | {names.get(k, k): v for k, v in changes.items()}
    before, after = keeps(frame, RULES), keeps(frame, now)
    late = pl.read_parquet(corpus / "signals" / "phase-1.parquet").filter(pl.col("score") < 2)["id"]
    lost_late = frame["id"].is_in(late.implode())
    assert found.measured == amount(frame, pl.repeat(True, frame.height, eager=True))
    assert found.kept == amount(frame, pl.Series(np.logical_and.reduce([*after.values(), ~lost_late])))
    assert found.kept_before == amount(frame, pl.Series(np.logical_and.reduce([*before.values(), ~lost_late])))
    every = {**{name: ~verdict for name, verdict in after.items()}, "late": lost_late}
    for name, lost in every.items():
        others = pl.Series(np.logical_or.reduce([other for key, other in every.items() if key != name]))
        one = rule(found, name)
        assert one.lost == amount(frame, lost)
        assert one.only == amount(frame, lost & ~others)
        wanted = {key: int((lost & other).sum()) for key, other in every.items() if key != name}
        assert dict(one.overlap) == {key: n for key, n in wanted.items() if n}
    for name in RULES:
        assert rule(found, name).lost_before == amount(frame, ~before[name])
    assert rule(found, "Gopher: repeats").undecided == (
        0 if changes.get("repeats") == "" else frame["share"].null_count()
    )
    for source, sides in found.sources.items():
        mine = frame["source"] == source
        assert sides["measured"] == amount(frame, mine)
        assert sides["kept"] == amount(frame, mine & pl.Series(np.logical_and.reduce([*after.values(), ~lost_late])))


def test_the_border_is_what_is_nearest_to_the_threshold(made: tuple[Path, pl.DataFrame]) -> None:
    corpus, frame = made
    found = what_if(corpus, {"repeats": "share <= 0.15"})
    sides = rule(found, "Gopher: repeats").border
    for side, some in (("lost", frame.filter(pl.col("share") > 0.15)), ("kept", frame.filter(pl.col("share") <= 0.15))):
        nearest = some.with_columns(far=(pl.col("share") - 0.15).abs()).sort("far").head(5)
        assert [row["id"] for row in sides[side]][:5] == nearest["id"].to_list()
        assert [row["share"] for row in sides[side]][:5] == nearest["share"].to_list()
        assert [row["source"] for row in sides[side]][:5] == nearest["source"].to_list()
    chinese = [row["words"] for row in rule(found, "short").border["lost"]]
    assert max(chinese) in (79, 49)  # the threshold is another one for each language


def test_a_large_corpus_gives_examples_from_some_of_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = signals(tmp_path, group=500)
    monkeypatch.setattr("lamina.data.what_if_signals.SAMPLE", 1500)
    sides = rule(what_if(tmp_path), "Gopher: repeats").border
    places = {int(row["id"]) for rows in sides.values() for row in rows}
    assert all(row["share"] > 0.2 for row in sides["lost"])
    assert {p // 500 for p in places} <= {0, 5, 11}
    lost = frame.filter(pl.col("share") > 0.2)["id"]
    assert {row["id"] for row in sides["lost"]} <= set(lost)


def test_tokens_are_those_of_the_shards_where_there_are_any(made: tuple[Path, pl.DataFrame], tmp_path: Path) -> None:
    corpus, frame = made
    estimated = what_if(corpus)
    assert "estimated at 4 bytes a token" in estimated.tokens.words
    ids = frame["id"].to_list()[:100]
    lengths = np.arange(1, 101)
    np.cumsum(lengths).astype("<u8").tofile(tmp_path / "tokens.index")
    starts = np.cumsum(lengths) - lengths
    pq.write_table(pa.table({"id": ids, "source": ["s"] * 100, "start": starts}), tmp_path / "documents.parquet")
    found = what_if(corpus, tokens=tmp_path)
    sizes = frame["_bytes"].to_numpy()
    ratio = sizes[:100].sum() / lengths.sum()
    assert found.tokens.bytes_per_token == pytest.approx(ratio)
    assert found.measured.tokens == lengths.sum() + np.rint(sizes[100:] / ratio).sum()
    assert "measured in the token shards" in describe(found)


def test_a_rule_is_called_by_reason_number_or_label_also_where_its_name_has_a_colon(
    made: tuple[Path, pl.DataFrame],
) -> None:
    corpus, _ = made
    told = ["Gopher: repeats: share <= 0.3", "short: words >= 5", "3:", "05 decide late: score >= 1"]
    assert changes_of(told, corpus) == {
        "Gopher: repeats": "share <= 0.3",
        "short": "words >= 5",
        "3": "",
        "05 decide late": "score >= 1",
    }
    found = what_if(corpus, changes_of(told, corpus))
    assert [r.after for r in found.rules] == ["words >= 5", "share <= 0.3", "", "score >= 1"]
    with pytest.raises(ConfigError, match="no rule and expression"):
        changes_of(["share <= 0.3"], corpus)
    with pytest.raises(ConfigError, match="did you mean 'repeats'"):
        what_if(corpus, {"repets": "share <= 1"})
    with pytest.raises(ConfigError, match="cannot be decided"):
        what_if(corpus, {"short": "wrods >= 1"})
    with pytest.raises(ConfigError, match="one verdict for many"):
        what_if(corpus, {"short": "COUNT(*) > 1"})


def test_a_corpus_without_signals_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keeps no signals"):
        what_if(tmp_path)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("a <= 0.5 AND b > -2", [("a", "0.5"), ("b", "-2")]),
        ("a IS NULL OR a >= 2", [("a", "2")]),
        ("NOT c AND d = 'x'", []),
        ("unknown >= 3", []),
        ("a BETWEEN 1 AND 2", [("a", "1"), ("a", "2")]),
    ],
)
def test_thresholds_of_an_expression(expression: str, wanted: list[tuple[str, str]]) -> None:
    assert thresholds(expression, dict.fromkeys("abcd")) == wanted


# -- on a corpus that was built, with texts ----------------------------------------------------------------------------

SENTENCE = "The keeper of the light number {} watched the water with his crew and wrote to the harbour about it."
STEPS: list[dict[str, Any]] = [
    {"signal": "quality"},
    {"decide": "words >= 5", "reason": "short"},
    {"decide": "symbols_per_word <= 0.5", "reason": "symbols"},
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    files = []
    for n in range(60):
        prose = SENTENCE.format(n)
        words = prose.split()
        noisy = " ".join(f"{word} #" if i % (2 + n % 3) == 0 else word for i, word in enumerate(words))
        text = prose if n % 2 else noisy if n % 4 else f"so {n} it goes"
        (folder / f"{n}.txt").write_text(text)
        files.append(SourceFile(name=f"{n}.txt", path=folder / f"{n}.txt"))
    out = folder / "corpus"
    out.mkdir()
    source = SourceInput(name="notes", use="files", files=tuple(files), license="MIT")
    build_corpus(out, folder / "work", sources=[source], steps=STEPS, held_out=0.0, progress=open_progress("quiet"))
    return out


def documents(corpus: Path) -> pl.DataFrame:
    return pl.read_parquet(corpus / "data" / "*.parquet").select("id", "text")


def test_examples_carry_their_texts_dropped_ones_too(built: Path) -> None:
    found = with_examples(what_if(built, {"short": "words >= 20"}), built)
    sides = rule(found, "short").border
    assert sides["lost"]
    assert all(row["text"].startswith(("The keeper", "so ")) for rows in sides.values() for row in rows)
    now = with_examples(what_if(built), built)
    assert {row["text"][:3] for row in rule(now, "short").border["lost"]} == {"so "}
    words = describe(found)
    assert "just lost" in words
    assert "| The keeper of the light" in words
    assert "other rules drop nothing" in words


def labelled(corpus: Path, *, texts: bool = False) -> list[Label]:
    """Who labels keeps what has no more than a few signs in it."""
    frame = pl.read_parquet(corpus / "signals" / "phase-0.parquet")
    known = {
        **dict(documents(corpus).iter_rows()),
        **dict(pl.read_parquet(corpus / "dropped.parquet").select("id", "text").iter_rows()),
    }
    rows = zip(frame["id"], (frame["symbols_per_word"] < 0.1) & (frame["words"] > 5), strict=True)
    return [
        Label(line=n, id=None if texts else id, text=known[id] if texts else None, keep=keep)
        for n, (id, keep) in enumerate(rows, 1)
    ]


@pytest.mark.parametrize("texts", [False, True])
def test_thresholds_that_separate_what_labels_say(built: Path, texts: bool) -> None:
    fitted = fit(
        open_signals(built), [*labelled(built, texts=texts), Label(line=99, id="nobody", text=None, keep=True)]
    )
    assert (fitted.labels, fitted.unknown) == (60, 1)
    assert (fitted.now.bad, fitted.now.bad_dropped) == (30, 15)  # the short ones
    assert fitted.together.index == fitted.unseen.index == 1.0
    [(label, expression)] = fitted.changes.items()
    assert label == "03 decide symbols"
    assert 0 < float(expression.split()[-1]) < 0.2
    found = what_if(built, changes_of([f"symbols: {expression}"], built))
    assert found.kept.documents == 30
    words = describe(found, fitted)
    assert f'--rule "symbols: {expression}"' in words
    assert "drops  30 of 30 bad,   0 of 30 good   precision 100%, recall 100%" in words
    told = orjson.loads(orjson.dumps(plain(fitted)))
    assert told["together"]["precision"] == 1.0


def test_labels_that_say_nothing_change_nothing_or_are_found_out(built: Path) -> None:
    draw = np.random.default_rng(1)
    random = [Label(line=x.line, id=x.id, text=None, keep=bool(draw.random() < 0.5)) for x in labelled(built)]
    fitted = fit(open_signals(built), random)
    assert fitted.unseen.index < 0.35
    with pytest.raises(ConfigError, match="too few"):
        fit(open_signals(built), labelled(built)[:12])
    with pytest.raises(ConfigError, match="30 of 30 are not of this corpus"):
        fit(open_signals(built), [Label(line=n, id=f"x{n}", text=None, keep=True) for n in range(30)])


def test_what_to_label_first_is_of_every_kind(built: Path) -> None:
    rows, model = propose(built, [], 12)
    assert model is None
    assert len({row["id"] for row in rows}) == 12
    reasons = [row["why"] for row in rows]
    assert reasons.count("kept") == 6
    assert reasons.count("dropped: short") >= 5
    assert all(row["keep"] is None and row["text"] and row["source"] == "notes" for row in rows)
    assert propose(built, [], 12)[0] == rows


def test_what_to_label_next_is_what_the_classifier_is_least_sure_of(built: Path) -> None:
    known = [x for x in labelled(built, texts=True) if "so " not in (x.text or "")][:24]
    rows, model = propose(built, known, 5)
    assert model is not None
    assert len(rows) == 5
    assert not {row["text"] for row in rows} & {x.text for x in known}
    assert all(row["why"].startswith("probability to keep 0.") for row in rows)
    # Texts of a kind that it was never shown are what it knows least about.
    assert any(row["text"].startswith("so ") for row in rows)
