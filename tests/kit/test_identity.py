from __future__ import annotations

import threading
import time
import uuid

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from lamina.kit.identity import blake3_hex, document_id, new_id, text_hash


def test_one_part_is_plain_blake3() -> None:
    assert blake3_hex("naïve") == blake3("naïve".encode()).hexdigest()
    assert text_hash("naïve") == blake3("naïve".encode()).hexdigest()[:32]


@given(st.lists(st.text(), min_size=2, max_size=4), st.lists(st.text(), min_size=2, max_size=4))
def test_parts_are_framed(one: list[str], other: list[str]) -> None:
    assert (blake3_hex(*one) == blake3_hex(*other)) == (one == other)


def test_a_document_keeps_its_name() -> None:
    assert document_id("books", "moby/1") == document_id("books", "moby/1") != document_id("book", "smoby/1")
    assert len(document_id("a", "b")) == 32


def test_a_lone_surrogate_has_a_hash() -> None:
    assert text_hash("\ud800") != text_hash("\ud801")


def test_ids_are_version_seven_and_ordered() -> None:
    ids = [new_id("chatcmpl") for _ in range(2000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    value = uuid.UUID(ids[0].removeprefix("chatcmpl-"))
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert abs((value.int >> 80) - time.time() * 1000) < 60_000


def test_ids_differ_between_threads() -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend(new_id("x") for _ in range(300))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1200
