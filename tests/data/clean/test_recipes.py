from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.clean.recipes import RECIPES, expand, recipe
from lamina.data.marking import run_marked
from lamina.data.steps import plan
from lamina.kit.errors import ConfigError

PROSE = (
    "The whale rose slowly beside the boat and the men held their breath. The old captain watched the water and said"
    " nothing for a while. Then he turned to the mate with a smile. It was the first that they had seen in weeks."
    " Nobody knew what he was thinking about, and nobody dared to ask him."
)


def verdicts(text: str, steps: Any, language: str = "en") -> dict[str, bool | None]:
    row = dict.fromkeys(DOCUMENTS.names) | {"id": "a", "source": "s", "text": text, "language": language}
    marked = run_marked(plan(steps)[0], pa.RecordBatch.from_pylist([row], schema=DOCUMENTS))
    return {label: column[0].as_py() for label, column in marked.verdicts.items()}


def test_each_rule_is_a_decide_of_its_own_under_the_number_of_its_recipe() -> None:
    found = verdicts(PROSE, [{"transform": "normalize"}, {"recipe": "fineweb"}])
    assert set(found.values()) == {True}
    assert {"02.03 decide Gopher: duplicate_lines", "02.17 decide Gopher: words"} <= set(found)
    assert sum("FineWeb: " in label for label in found) == 4
    short = verdicts(PROSE[:69], [{"recipe": "fineweb"}])
    assert {label for label, verdict in short.items() if verdict is False} == {
        "01.17 decide Gopher: words",
        "01.26 decide C4: c4_sentences",
    }


def test_rules_can_be_left_out_and_said_in_other_words() -> None:
    whole = recipe("fineweb")
    less = recipe("fineweb", without=("words", "c4_lines"), rules={"c4_sentences": "c4_sentences >= 1"})
    assert [s for s in whole if s not in less] == [
        next(s for s in whole if s.get("reason") == "Gopher: words"),
        next(s for s in whole if s.get("reason") == "C4: c4_sentences"),
        {"transform": "c4_lines", "terminal": False},
    ]
    assert {"decide": "c4_sentences >= 1", "reason": "C4: c4_sentences"} in less
    assert recipe("fineweb") == whole  # nothing was changed in place
    step = {"recipe": "fineweb", "without": ["words"], "rules": {"c4_sentences": "c4_sentences >= 1"}}
    assert False not in verdicts(PROSE[:69], [step]).values()


def test_a_signal_that_stands_before_is_not_measured_again() -> None:
    def signals(*tables: dict[str, Any]) -> list[str]:
        return [step["signal"] for _, _, step in expand(tables) if "signal" in step]

    mine = {"signal": "language", "max_chars": 500}
    assert signals(mine, {"recipe": "gopher"}) == ["language", "repetition", "quality"]
    assert signals({"recipe": "gopher"}, {"recipe": "gopher"}) == ["language", "repetition", "quality"]
    edited = signals({"recipe": "gopher"}, {"transform": "noise"}, {"recipe": "gopher"})
    assert edited == ["language", "repetition", "quality", "repetition", "quality"]


@pytest.mark.parametrize("language", ["zh", "zh-CN"])
def test_han_texts_are_measured_by_character(language: str) -> None:
    text = "这是一个关于鲸鱼的故事。老船长看着大海,很久没有说话。然后他转向大副,微微一笑。" * 3
    steps = [{"recipe": "gopher"}]
    found = {label.split(": ")[-1]: verdict for label, verdict in verdicts(text, steps, language).items()}
    assert (len(text), found["words"]) == (120, True)
    assert found["duplicate_5_grams"] is True  # that the text says everything again shows in longer runs
    assert found["duplicate_10_grams"] is False


@pytest.mark.parametrize(("language", "enough"), [("de", True), ("de-AT", True), ("en", False), ("deu", False)])
def test_a_limit_of_a_language_holds_in_all_its_regions_and_in_no_other(language: str, enough: bool) -> None:
    text = " ".join(["Der alte Kapitän sah lange auf das Meer."] * 6)[:-1]
    found = {
        label.split(": ")[-1]: verdict for label, verdict in verdicts(text, [{"recipe": "gopher"}], language).items()
    }
    assert (len(text.split()), found["words"]) == (48, enough)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"recipe": "gofer"}, "did you mean 'gopher'"),
        ({"recipe": 3}, "wants text"),
        ({"recipe": "c4", "without": ["c4_sentence"]}, "did you mean 'c4_sentences'"),
        ({"recipe": "c4", "rules": {"words": "words > 3"}}, "no rule of 'c4' called 'words'"),
        ({"recipe": "c4", "withot": []}, "did you mean 'without'"),
        ({"recipe": "gopher", "rules": {"words": "wrods > 3"}}, "did you mean 'words'"),
        ({"recipe": "gopher", "decide": "words > 3"}, "no such key 'decide'"),
        ({"recip": "gopher"}, "did you mean 'recipe'"),
    ],
)
def test_mistakes_are_named_with_their_place(step: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan([{"transform": "normalize"}, step])
    assert words in str(caught.value)
    assert "data.steps.1" in str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_planned(name: str) -> None:
    assert len(plan([{"recipe": name}])) == 1
