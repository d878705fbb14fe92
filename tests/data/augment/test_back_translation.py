from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from lamina.data.augment.back_translation import back_translation, passing, translate_back
from lamina.data.augment.choose import Candidate, choose_translator
from lamina.data.augment.chrf import chrf
from lamina.data.augment.gates import gate, names_of, same_language
from lamina.data.augment.sentences import exchange, sentences
from lamina.kit.errors import ConfigError, InputError

Make = Callable[..., pa.RecordBatch]
PARAGRAPH = (
    "The keeper climbed the long stairs of the lighthouse in the early morning. He saw the boats of Peter Miller "
    "far away on the calm sea. In 1998 the old lamp cost 1,200 dollars.\n\n# A heading\n\n"
    "Nothing ever changed here, he thought, and that was how he liked it!  "
)


class Fake:
    """Back translation by rules: what it makes of a sentence on the way back is given."""

    def __init__(self, rule: Callable[[str], str], pairs: Sequence[tuple[str, str]] = (("en", "es"), ("es", "en"))):
        self.rule, self.pairs, self.seeds, self.calls = rule, pairs, list[int](), 0

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        if (source, target) not in self.pairs:
            raise InputError(f"no pair {source}-{target}")
        self.calls += 1
        return [self.rule(text) if target == "en" else text for text in texts]

    def reseed(self, seed: int) -> None:
        self.seeds.append(seed)


def said_otherwise(text: str) -> str:
    return "Indeed, one may say that " + text[0].lower() + text[1:].replace(" the ", " that ")


def run(batch: pa.RecordBatch, fake: Fake, **parameters: Any) -> list[dict[str, Any]]:
    values = {"copies": 1, "seed": 0, "pivots": ("es",), **parameters}
    rows: list[dict[str, Any]] = translate_back(batch, fake, **values).to_pylist()
    return rows


def test_sentences_change_and_the_rest_stays(make: Make, redo: Callable[..., str]) -> None:
    (child,) = run(make(PARAGRAPH), Fake(said_otherwise))
    detail = json.loads(child["detail"])
    assert len(detail["edits"]) == 4
    assert redo(PARAGRAPH, detail["edits"]) == child["text"]
    assert "\n\n# A heading\n\n" in child["text"]
    assert child["text"].endswith("!  ")
    assert detail["pivot"] == "es"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (lambda text: text, "unchanged"),
        (lambda text: text.upper().replace(",", ""), "unchanged"),
        (lambda text: text[:9], "length"),
        (lambda text: text * 3, "length"),
        (lambda text: "", "length"),
        (lambda text: said_otherwise(text).replace("1998", "1989"), "numbers"),
        (lambda text: said_otherwise(text).replace("Peter", "Pedro"), "names"),
        (lambda text: said_otherwise(text).replace("lamp", "light"), "terms"),
    ],
)
def test_sentences_that_fail_a_gate_stay(make: Make, rule: Callable[[str], str], reason: str) -> None:
    text = "In 1998 the old lamp of Peter Miller was sold to the town for good. And the harbour was left in the dark."
    fake = Fake(lambda t: said_otherwise(t) if t.startswith("And") else rule(t))
    (child,) = run(make(text), fake, terms=("old lamp",))
    assert json.loads(child["detail"])["failed"] == {reason: 1}
    assert child["text"].startswith("In 1998 the old lamp of Peter Miller was sold to the town for good. Indeed")


def test_numbers_may_change_their_separators() -> None:
    assert gate(["It cost 1,200 dollars in the end."], ["At last its price was 1.200 dollars."]) == [None]


def test_protected_spans_must_come_back() -> None:
    original = "Please write to a@example.org or see {page} about the matter."
    assert gate([original], ["You should write to a@example.org, or look at {page}, on this."]) == [None]
    assert gate([original], ["You should write to a@example.com, or look at {page}, on this."]) == ["protected"]


def test_names_are_found_in_their_text() -> None:
    assert names_of(["We met Anna Lee and NASA people. The end."]) == [frozenset({"Anna", "Lee", "NASA"})]


def test_a_child_in_another_language_is_dropped(make: Make) -> None:
    spanish = "El guardián subió las largas escaleras del faro por la mañana temprano y miró el mar."
    assert run(make("The keeper climbed the stairs of the lighthouse that morning."), Fake(lambda t: spanish)) == []
    assert same_language([spanish, "ok", ""], "en") == [False, True, True]


def test_pivots_take_turns_and_unknown_pairs_are_left_out(make: Make) -> None:
    fake = Fake(said_otherwise, [("en", "es"), ("es", "en"), ("en", "fr"), ("fr", "en")])
    rows = run(make(PARAGRAPH), fake, copies=3, pivots=("es", "fr", "xx"))
    assert [(r["copy"], json.loads(r["detail"])["pivot"]) for r in rows] == [(0, "es"), (1, "fr")]


def test_documents_without_language_or_in_the_pivot_have_none(make: Make) -> None:
    assert run(make(PARAGRAPH, language=None), Fake(said_otherwise)) == []
    assert run(make(PARAGRAPH, language="es"), Fake(said_otherwise)) == []
    assert len(run(make(PARAGRAPH, language="en-GB"), Fake(said_otherwise))) == 1


def test_part_of_the_sentences_drawn_by_document(make: Make) -> None:
    text = "The keeper of that lighthouse saw the boats go by again. " * 40
    rows = run(make(text, ids=["x"]), Fake(said_otherwise), copies=2, part=0.5)
    counts = [len(json.loads(r["detail"])["edits"]) for r in rows]
    assert all(8 < count < 32 for count in counts)
    assert rows[0]["text"] != rows[1]["text"]
    beside = run(make(PARAGRAPH, text, ids=["a", "x"]), Fake(said_otherwise), copies=2, part=0.5)
    assert [r["text"] for r in beside if r["parent"] == 1] == [r["text"] for r in rows]


def test_sampling_is_seeded_by_document_and_copy(make: Make) -> None:
    alone, beside = Fake(said_otherwise), Fake(said_otherwise)
    run(make(PARAGRAPH, ids=["x"]), alone, copies=2, sampled=True)
    run(make(PARAGRAPH, PARAGRAPH, ids=["a", "x"]), beside, copies=2, sampled=True)
    assert len(alone.seeds) == len(set(alone.seeds)) == 2
    assert set(alone.seeds) < set(beside.seeds)
    together = Fake(said_otherwise)
    run(make(PARAGRAPH, PARAGRAPH), together, copies=2)
    assert together.calls == 2


def test_wrong_parameters_are_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="pivot"):
        back_translation(make("x"), pivots=())
    with pytest.raises(ConfigError, match="part"):
        back_translation(make("x"), part=0.0)
    with pytest.raises(ConfigError, match="no translator"):
        back_translation(make("x"), translator="magic")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One two three four. Five six seven eight.", ["One two three four.", "Five six seven eight."]),
        ('He said "stop it right now." Then he left it.', ['He said "stop it right now."', "Then he left it."]),
        ("Then Dr. Smith of the U.S. came to town.", ["Then Dr. Smith of the U.S. came to town."]),
        ("It costs 3.14 euros in e.g. Spain.\nNext line here is long", ["It costs 3.14 euros in e.g. Spain.",
                                                                           "Next line here is long"]),
        ("It was late then. Mr. Smith came to town.", ["It was late then.", "Mr. Smith came to town."]),
        ("Mrs. Hussey sold them chowder. (Dr. Bunger was not there.)", ["Mrs. Hussey sold them chowder.",
                                                                         "(Dr. Bunger was not there.)"]),
        ("Too short.\n\n```\nsome code that is long enough\n```", []),
        ("See https://example.org/a.b?c for all of it.", ["See https://example.org/a.b?c for all of it."]),
        ("", []),
    ],
)  # fmt: skip
def test_sentences(text: str, wanted: list[str]) -> None:
    found = sentences(text)
    assert [s.text for s in found] == wanted
    assert all(text[s.begin : s.end] == s.text for s in found)
    assert exchange(text, [(s.begin, s.end, s.text) for s in found]) == text


def test_passing_counts_what_fails() -> None:
    share, failed = passing(
        [PARAGRAPH], Fake(lambda t: t if "1998" in t else said_otherwise(t)), language="en", pivot="es"
    )
    assert (share, failed) == (0.75, {"unchanged": 1})


def test_chrf_is_that_of_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    hypotheses = ["the cat sat on mat", "Hello world!", "a", "ab cdef", "", "größer als  der Baum"]
    references = ["the cat is on the mat", "Hello, my world", "abcdefg h", "x", "word", "größer als ein Baum"]
    assert chrf(hypotheses, references) == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score)
    for a, b in zip(hypotheses, references, strict=True):
        assert chrf([a], [b]) == pytest.approx(sacrebleu.sentence_chrf(a, [b]).score)
    assert chrf(["same text"], ["same text"]) == pytest.approx(100)


GOOD = Fake(said_otherwise)
PARALLEL = [("The house is very old.", "The house is very old."), ("I see the sea.", "I see the sea.")]


def test_the_own_model_is_taken_where_it_is_good_enough() -> None:
    own = Fake(lambda t: t if t in {a for a, _ in PARALLEL} else said_otherwise(t))
    choice = choose_translator(
        [Candidate(name="apertium", translator=GOOD), Candidate(name="own", translator=own, own=True)],
        source="en", pivot="es", samples=[PARAGRAPH], parallel=PARALLEL,
    )  # fmt: skip
    assert (choice.name, choice.translator) == ("own", own)
    assert choice.reasons == (
        "own: taken: chrF 100.0 en-es and 100.0 es-en on 2 held-out pairs; 100% of the sentences pass the gates",
    )


def test_a_bad_own_model_gives_way_and_the_reason_is_told() -> None:
    bad = Candidate(name="own", translator=Fake(lambda t: "xyzzy"), own=True)
    silent = Candidate(name="own", translator=Fake(lambda t: t if t[0] == "I" or "very" in t else ""), own=True)
    other = Candidate(name="apertium", translator=GOOD)
    without = Candidate(name="french only", translator=Fake(said_otherwise, [("en", "fr")]))
    for own, told in ((bad, "at least 40 is needed"), (silent, "at least 30% is needed")):
        choice = choose_translator(
            [own, without, other], source="en", pivot="es", samples=[PARAGRAPH], parallel=PARALLEL
        )
        assert choice.name == "apertium"
        assert told in choice.reasons[0]
        assert "no pair en-es" in choice.reasons[1]
    choice = choose_translator([bad], source="en", pivot="es", samples=[PARAGRAPH])
    assert choice.name is None
    assert "no held-out pairs" in choice.reasons[0]
    assert "no translator is good enough" in choice.reasons[1]
