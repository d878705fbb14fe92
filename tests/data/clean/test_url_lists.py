from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lamina.data.clean.url_files import read_lists
from lamina.data.clean.url_lists import url_lists
from lamina.kit.errors import ConfigError


def signals(*urls: str | None, **lists: Any) -> list[dict[str, Any]]:
    rows = url_lists(pa.record_batch({"url": pa.array(urls, pa.string())}), **lists).to_pylist()
    return [{k.removeprefix("url_"): v for k, v in row.items()} for row in rows]


def blocked(*urls: str | None, **lists: Any) -> list[bool | None]:
    return [row["blocked"] for row in signals(*urls, **lists)]


def test_an_entry_holds_for_the_host_and_all_under_it_at_the_borders_of_labels() -> None:
    urls = ["https://bad.example", "http://a.b.bad.example:8080/x", "HTTPS://me@BAD.Example./?q#f"]
    assert blocked(*urls, domains=("bad.example",)) == [True] * 3
    others = [
        "https://notbad.example/",
        "https://example/",
        "https://bad.example.org/",
        "https://ok.example/bad.example",
    ]
    assert blocked(*others, domains=("bad.example",)) == [False] * 4


def test_documents_without_a_web_address_are_null() -> None:
    row = signals("npm:books/a.txt", None, "mailto:x@bad.example", domains=("bad.example",))[0]
    assert row == {"url": None} | dict.fromkeys(row) | {"url": "npm:books/a.txt"}
    assert blocked(None, "ftp://bad.example/", "https:///x", domains=("bad.example",)) == [None] * 3


def test_a_whole_top_level_domain_needs_its_dot() -> None:
    urls = ("https://a.zip/", "https://zip.example/", "https://zip/")
    assert blocked(*urls, domains=(".zip",)) == [True, False, True]
    assert blocked(*urls, domains=("*.zip",)) == [True, False, True]
    with pytest.raises(ConfigError, match="no host"):
        blocked(*urls, domains=("zip",))


def test_hosts_files_plain_lists_addresses_and_blockers_rules(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        "# a hosts file\n127.0.0.1 localhost\n::1 localhost ip6-localhost\n0.0.0.0 Ads.Example tracker.example # both\n"
    )
    (tmp_path / "plain.txt.gz").write_bytes(
        gzip.compress("﻿one.example\r\n\r\nbücher.example\r\n*.two.example".encode())
    )
    (tmp_path / "rules.txt").write_text("[Adblock]\n! comment\n||three.example^\n||four.example^$third-party\n")
    (tmp_path / "urls.txt").write_text("https://five.example/bad/\nsix.example:8080/x?id=1\n")
    urls = [f"https://{n}.example/" for n in ("ads", "www.tracker", "one", "xn--bcher-kva", "x.two", "three", "four")]
    found = signals(*urls, "https://bücher.example/", "http://localhost/", block=(str(tmp_path),))
    assert [row["blocked"] for row in found] == [True] * 8 + [False]
    assert [row["list"] for row in found] == ["hosts"] * 2 + ["plain"] * 3 + ["rules"] * 2 + ["plain", None]
    urls = ["https://five.example/bad", "https://five.example/BAD/more?x=1", "https://five.example/badly"]
    urls += ["https://five.example/", "http://six.example/x?id=1&p=2", "http://six.example/x?id=2"]
    assert blocked(*urls, block=(str(tmp_path / "urls.txt"),)) == [True, True, False, False, True, False]


def test_a_folder_as_of_toulouse_is_called_by_its_categories(tmp_path: Path) -> None:
    for name, text in {
        "adult/domains": "a.example\n",
        "adult/urls": "b.example/x\n",
        "ads/domains": "c.example",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "adult" / "expressions").write_text("(.*)porn(.*)")
    rows = signals("https://a.example", "https://b.example/x/y", "https://c.example", block=(str(tmp_path),))
    assert [row["list"] for row in rows] == ["adult", "adult", "ads"]


def test_what_says_more_wins_and_at_a_tie_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "allow").write_text("good.bad.example\nboth.example\nbad.example/page\n")
    lists = {"domains": ("bad.example", "very.good.bad.example", "both.example"), "allow": (str(tmp_path / "allow"),)}
    urls = [
        "https://bad.example",
        "https://x.good.bad.example",
        "https://very.good.bad.example",
        "https://both.example",
    ]
    urls += ["https://bad.example/page/1", "https://bad.example/pages"]
    rows = signals(*urls, **lists)
    assert [row["blocked"] for row in rows] == [True, False, True, False, False, True]
    assert [row["allowed"] for row in rows] == [False, True, True, True, True, False]


def test_words_and_parts_of_an_address(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("# words\nPoker\n")
    urls = ["https://www.casino-poker.example/casino", "https://casinos.example/", "https://x.example/c%61sino"]
    urls += ["https://free-por-n.example/", "https://x.example/#poker"]
    rows = signals(*urls, words=("casino",), word_files=(str(tmp_path / "words"),), parts=("porn", "casino"))
    assert [row["words"] for row in rows] == [2, 0, 1, 0, 1]
    assert [row["parts"] for row in rows] == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no host"),
        ("# only\n! comments\n", "no host"),
        ("This is a letter to my aunt.\nIt has two lines.\n", "are no hosts"),
        ("/ads/*.gif\nexample.com##.banner\n||a.example^\n", "are no hosts"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(ConfigError, match=words):
        blocked("https://a.example", block=(str(tmp_path / "x"),))


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a list"):
        signals("https://a.example")
    with pytest.raises(ConfigError, match="no such file"):
        signals("https://a.example", block=(str(tmp_path / "nowhere"),))
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"a.example\n" * 999)[:-9])
    with pytest.raises(ConfigError, match="cannot be read"):
        signals("https://a.example", block=(str(tmp_path / "broken.gz"),))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a.example\n")
    assert blocked("https://b.example", block=(str(tmp_path / "x"),)) == [False]
    (tmp_path / "x").write_text("a.example\nb.example\n")
    assert blocked("https://b.example", block=(str(tmp_path / "x"),)) == [True]


def test_like_hashes_are_told_apart_by_name(tmp_path: Path) -> None:
    lists = read_lists([], [f"h{i}.example" for i in range(2000)])
    same = lists.hosts.hashes.copy()
    same[:] = same[0]  # as if all names had one hash
    import polars as pl

    from lamina.data.clean.url_files import UrlTable

    keys = lists.hosts.entries.gather([0, 1, 1999])
    table = UrlTable(keys.hash(0).to_numpy()[:1].repeat(2000), lists.hosts.entries, lists.hosts.lists)
    assert table.find(keys).tolist() == [0, -1, -1]
    assert lists.hosts.find(pl.concat([keys, pl.Series(["x.example", None])])).tolist() == [0, 0, 0, -1, -1]
