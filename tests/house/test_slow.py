"""`make test` leaves out what is marked `slow`: three tests at most, each with a shorter one beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = "mark." + "slow"


def test_three_tests_at_most_are_slow() -> None:
    files = [file for file in (ROOT / "tests").rglob("*.py") if MARK in file.read_text()]
    found = [f"{file.name}: {line.strip()}" for file in files for line in file.read_text().splitlines() if MARK in line]
    assert len(found) <= 3, found
    assert not any("pytestmark" in line for line in found), "a module is many tests"


def test_what_lands_has_passed_them() -> None:
    rules = (ROOT / "Makefile").read_text().split("\n\n")
    (usual,), (all_of_it,), (check,) = (
        [rule for rule in rules if rule.startswith(name)] for name in ("test:", "test-all:", "check:")
    )
    assert "not slow" in usual
    assert "slow" not in all_of_it.split("\n", 1)[1]
    assert "test-all" in check
