from __future__ import annotations

import pyarrow as pa
import pytest

from lamina.data.clean.quality import quality


def signals(text: str | None) -> dict[str, float]:
    row = quality(pa.record_batch({"text": pa.array([text], pa.string())})).to_pylist()[0]
    del row["text"]
    return row


def test_counts_by_hand() -> None:
    found = signals("- the cat and 42\n\n* it ran…\nthen #stopped ...")
    assert found["words"] == 11
    assert found["characters"] == 45
    assert found["mean_word_length"] == pytest.approx(34 / 11)
    assert found["symbols_per_word"] == pytest.approx(3 / 11)
    assert found["alphabetic_words"] == pytest.approx(7 / 11)
    assert found["bullet_lines"] == pytest.approx(2 / 3)
    assert found["ellipsis_lines"] == pytest.approx(2 / 3)
    assert found["stop_words"] == 2


@pytest.mark.parametrize("text", ["", "   \n", None])
def test_no_words_no_shares(text: str | None) -> None:
    found = signals(text)
    assert found["words"] == 0
    assert found["mean_word_length"] is None
    assert found["symbols_per_word"] is None


def test_stop_words_are_whole_words_in_any_case() -> None:
    assert signals("THE bees often thave")["stop_words"] == 1
