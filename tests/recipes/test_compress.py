"""``lamina compress`` over a small stack: plans, table, choice, version, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lamina.deployment.compress.prune import Kept, carved
from lamina.deployment.load.objective import Objective
from lamina.kit.durable import publish
from lamina.kit.errors import ConfigError, InputError, RefusedError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Stage, Workshop
from lamina.model.architectures.presets import preset
from lamina.model.checkpoint import open_model, save_model
from lamina.model.transformer import Transformer
from lamina.recipes.budget import within_budget
from lamina.recipes.calibration import calibration_batches
from lamina.recipes.compress import compress
from lamina.recipes.compression_plans import Target, chosen, frontier, plans_of
from lamina.recipes.compression_report import figure
from lamina.recipes.current import Current, read_json, remember
from lamina.recipes.plan import Plan
from lamina.recipes.pruning import Deployed
from lamina.recipes.registering import register
from lamina.recipes.served import served_stage
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.versions import open_registry

STACK = """
name = "harbour"
[[data.sources]]
use = "files"
from = "docs"
[model]
base = "base"
[model.evaluate]
tokens = 200
tasks = ["pairs.jsonl"]
[deployment]
device = "cpu"
"""
ANIMALS = ("whale", "gull", "squid", "shark", "seal", "crab", "heron", "otter", "eel", "tern", "skua", "orca")
TEXTS = [f"The {a} of bay {n} swims far out at sea and comes home before the tide. " * 8 for n, a in enumerate(ANIMALS)]
BASE, CORPUS = "b" * 32, "c" * 32


class Ran:
    """The stages that were run, by name."""

    names: ClassVar[list[str]] = []


def write_base(folder: Path) -> None:
    """A small random model with channels of unlike size, and a tokenizer."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<end>"], initial_alphabet=alphabet)
    backend.train_from_iterator(TEXTS, trainer)
    backend.save(str(folder / "tokenizer.json"))
    template = "{% for m in messages %}{{ m['content'] }}<end>{% endfor %}"
    settings = {"eos_token": "<end>", "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    model = Transformer(preset("nano", vocabulary=backend.get_vocab_size())).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "embeddings" not in name:
            parameter.mul_(5.0)
        elif "norm" in name:
            parameter[::13] *= 8.0
    save_model(model, folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Harbour\n")


def write_corpus(folder: Path) -> None:
    (folder / "data").mkdir()
    for name, texts in (("train-0", TEXTS[:8]), ("held_out-0", TEXTS[8:])):
        rows = {"id": [f"{name}-{n}" for n in range(len(texts))], "text": texts}
        pq.write_table(pa.table(rows), folder / "data" / f"{name}.parquet")


@pytest.fixture(scope="module")
def stack(in_this_process: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """What `lamina up` leaves of a base, its documents and a version; stages run in this process."""
    folder = tmp_path_factory.mktemp("harbour")
    rows = [{"good": f"The {a} swims far out .", "bad": f"The {a} far out swims ."} for a in ANIMALS]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "lamina.toml").write_text(STACK)
    opened = open_stack(folder / "lamina.toml")
    for place, write in (
        (opened.state / "bases" / BASE, write_base),
        (opened.state / "corpora" / CORPUS, write_corpus),
    ):
        with publish(place) as staging:
            write(staging)
    remember(opened, Current(corpus=CORPUS, base=BASE))

    with pytest.MonkeyPatch.context() as patched:
        in_this_process(patched, Ran.names)
        patched.setattr("lamina.deployment.timing._ASKED", 1)
        patched.setattr("lamina.recipes.compression_stages._ROUNDS", 1)
        patched.setattr("lamina.model.device._LOOKED_S", 0.0)
        quiet = open_progress("quiet")
        served = Workshop(opened.state, quiet).run(served_stage(opened, base_of(opened), part="", corpus=None))
        register(opened, served, {"role": "base", "run": None, "corpus": CORPUS, "metrics": {}}, quiet)
        yield opened


def base_of(stack: Stack) -> Path:
    return stack.state / "bases" / BASE


@pytest.fixture(scope="module")
def found(stack: Stack) -> dict[str, Any]:
    """All plans, and the one that was taken without a bound on times."""
    result: dict[str, Any] = compress(stack, slo="quality=-50%", json=True)
    return result


def test_every_plan_is_measured_against_the_parent(found: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in found["plans"]}
    assert list(rows) == ["none", "int8", "int8+smoothquant", "int4", "int4+awq", "int4+gptq"]
    assert rows["none"]["kl"] == 0
    assert rows["none"]["change"] == 0
    assert rows["none"]["agreement"] == 1
    for name, row in rows.items():
        assert row["ttft"] > 0
        assert row["tokens_per_s"] == pytest.approx(1 / row["itl"])
        assert row["bandwidth_share"] == pytest.approx(row["bytes_per_token"] / row["itl"] / row["read_rate"])
        assert row["bits_per_byte"] == pytest.approx(row["parent_bits_per_byte"] * (1 + row["change"]))
        assert row["parameters"] == rows["none"]["parameters"]
        assert 0 <= row["tasks"]["pairs"]["value"] <= 1
        assert (row["kl"] > 0) == (name != "none")
    assert rows["int4"]["bytes"] < rows["int8"]["bytes"] < 0.5 * rows["none"]["bytes"]
    assert rows["int4"]["bytes_per_token"] < rows["int8"]["bytes_per_token"] < rows["none"]["bytes_per_token"]
    assert rows["int8"]["kl"] < rows["int4+gptq"]["kl"] < rows["int4"]["kl"]


def test_what_was_taken_is_a_version_with_table_card_and_seal(stack: Stack, found: dict[str, Any]) -> None:
    assert found["chosen"] == max(found["plans"], key=lambda row: row["tokens_per_s"])["name"]
    with open_registry(stack) as registry:
        version, parent = registry.resolve(found["version"]), registry.resolve("champion")
        folder = registry.folder(version.id)
        assert registry.seal(version.id)["manifest"] == version.digest
    assert version.parent == parent.id != version.id
    assert (version.run, version.corpus, version.role) == (parent.run, parent.corpus, parent.role)
    assert version.metrics["compression"] == found["chosen"]
    table = json.loads((folder / "compression.json").read_text())
    assert table["plans"] == found["plans"]
    card = (folder / "README.md").read_text()
    assert card.startswith("---")
    assert f"| int4+gptq | {found['plans'][5]['bytes'] / 1e6:,.1f} |" in card
    report = Path(found["folder"])
    page = (report / "report.html").read_text()
    assert all(row["name"] in page for row in found["plans"])
    assert (report / "frontier.svg").read_text().count("<circle") == 6
    assert all(f">{row['name']}</text>" in (report / "frontier.svg").read_text() for row in found["plans"])


def test_what_was_measured_is_not_measured_again(stack: Stack, found: dict[str, Any]) -> None:
    Ran.names.clear()
    again = compress(stack, slo="quality=-50%", json=True)
    assert Ran.names == []
    assert again == found
    text = compress(stack, slo="ttft=100s,quality=-50%")
    assert Ran.names == ["compression"]
    least = min(found["plans"], key=lambda row: (max(0, row["change"]), -row["tokens_per_s"]))
    assert f"taken: {least['name']} (of those that meet all, it lost the least" in text
    assert "releases promote" in text


def test_no_plan_that_meets_what_is_asked_is_an_error_that_names_the_nearest(
    stack: Stack, found: dict[str, Any]
) -> None:
    before = _versions(stack)
    with pytest.raises(InputError, match=r"no plan meets what was asked: itl at most 0.001 ms.*nearest: ") as error:
        compress(stack, slo="itl=0.001ms")
    assert "report.html" in str(error.value)
    assert _versions(stack) == before


def test_the_registry_refuses_what_lost_more_than_its_budget(
    stack: Stack, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _versions(stack)

    def worse(file: Path) -> dict[str, Any]:
        return read_json(file) | ({"change": 0.05} if file.name == "quality.json" else {})

    with monkeypatch.context() as patched:
        patched.setattr("lamina.recipes.compression_table.read_json", worse)
        for budget in ("-4%", "-0%"):
            with pytest.raises(RefusedError, match=r"int4 needs 5.00% more bits per byte than its parent"):
                compress(stack, slo=f"quality={budget}", take="int4")
        assert _versions(stack) == before
        assert compress(stack, slo="quality=-5%", take="int4", json=True)["version"] not in before
    with open_registry(stack) as registry, pytest.raises(RefusedError, match=r"4\.00% are allowed"):
        registry.add(_refused(stack), role="documents")


def _refused(stack: Stack) -> Path:
    """The artefact whose own table allows 4 %."""
    files = stack.state.glob("compressions/*/compression.json")
    return next(file.parent / "model" for file in files if read_json(file)["quality"] == 0.04)


def _versions(stack: Stack) -> list[str]:
    with open_registry(stack) as registry:
        return [version.id for version in registry.versions()]


def test_what_the_stack_file_serves_keeps_its_budget(
    stack: Stack, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = open_progress("quiet")
    workshop, corpus = Workshop(stack.state, quiet), stack.state / "corpora" / CORPUS
    made = Deployed(source=base_of(stack), part="")

    def of(*assignments: str) -> tuple[Path, Path]:
        opened = open_stack(stack.file, assignments)
        served = workshop.run(served_stage(opened, made.source, part="", corpus=corpus))
        return served, within_budget(opened, workshop, made, served, corpus=corpus, progress=quiet)

    for free in ((), ('deployment.quantize="none"', 'deployment.quality="-1%"')):
        served, artefact = of(*free)
        assert artefact == served
    served, artefact = of('deployment.quantize="int4"', 'deployment.quality="-40%"')
    told = read_json(artefact / "model" / "compression.json")
    assert (told["chosen"], told["parent"]) == ("int4", BASE)
    assert [plan["name"] for plan in told["plans"]] == ["none", "int4"]
    weights = "model.safetensors"
    assert (artefact / "model" / weights).read_bytes() == (served / "model" / weights).read_bytes()
    assert "This is the plan `int4`" in (artefact / "model" / "README.md").read_text()
    assert read_json(artefact / "seal.json")
    assert of('deployment.quantize="int4"', 'deployment.quality="-41%"')[1] == artefact, "it is the same version"

    def worse(file: Path) -> dict[str, Any]:
        return read_json(file) | ({"change": 0.05} if file.name == "quality.json" else {})

    monkeypatch.setattr("lamina.recipes.compression_table.read_json", worse)
    with pytest.raises(RefusedError, match=r"int4 needs 5.00% more bits per byte than its parent; 4.00%"):
        of('deployment.quantize="int4"', 'deployment.quality="-4%"')


def test_plans_that_are_not_known_are_named(stack: Stack) -> None:
    for asked in ({"plans": ["int3"]}, {"take": "int3"}):
        with pytest.raises(InputError, match="int3"):
            compress(stack, **asked)  # type: ignore[arg-type]


def test_calibration_reads_training_documents_alone(stack: Stack) -> None:
    from lamina.kit.tokenizer import open_tokenizer

    corpus, tokenizer = stack.state / "corpora" / CORPUS, open_tokenizer(base_of(stack))
    batches = calibration_batches(corpus, tokenizer, context=64, tokens=2000)
    assert {tuple(ids.shape)[1] for ids in batches} == {64}
    text = tokenizer.decode([int(i) for ids in batches for i in ids.flatten()])
    assert all(t[:20] in text for t in TEXTS[:8])
    assert not any(t[:20] in text for t in TEXTS[8:])
    with pytest.raises(ConfigError, match="no training documents"):
        calibration_batches(stack.state, tokenizer, context=64)


def test_the_stack_file_says_how_the_served_form_is_made(stack: Stack) -> None:
    opened = open_stack(stack.file, ['deployment.quantize="int4"', 'deployment.calibrate="gptq"'])
    workshop, corpus = Workshop(stack.state, open_progress("quiet")), stack.state / "corpora" / CORPUS
    served = workshop.run(served_stage(opened, base_of(stack), part="", corpus=corpus))
    about = json.loads((served / "model" / "config.json").read_text())["quantization_config"]
    assert about["calibration"] == "gptq"
    assert workshop.fresh(served_stage(stack, base_of(stack), part="", corpus=corpus))  # no documents: no new key
    with pytest.raises(ConfigError, match="this stack has none"):
        served_stage(opened, base_of(stack), part="", corpus=None)
    plan = Plan(opened, workshop, open_progress("quiet"))
    plan.__dict__["base"] = Stage(name="base", shelf="bases", function="")
    assert plan.scorer_stage.parameters == {"quantize": "int4", "part": ""}
    for wrong in (['deployment.calibrate="gptq"'], ['deployment.quality="1%"'], ['deployment.quality="a bit"']):
        with pytest.raises(ConfigError):
            open_stack(stack.file, wrong)


def row(name: str, rate: float, change: float, ttft: float = 0.1) -> dict[str, Any]:
    return {"name": name, "tokens_per_s": rate, "itl": 1 / rate, "ttft": ttft, "change": change}


ROWS = [row("none", 20, 0.0), row("int8", 60, 0.002), row("slow", 50, 0.003), row("int4", 90, 0.03, 0.4)]


def test_the_rule_of_the_choice() -> None:
    def take(slo: str | None, quality: str | None = None) -> str | None:
        found = chosen(ROWS, Target.read(slo, quality))
        return None if found is None else found["name"]

    assert take(None) == "int8"  # the fastest that loses no more than 1 %
    assert take(None, "-5%") == "int4"
    assert take("quality=-0.1%", "-5%") == "none"
    assert take("itl=20ms") == "int8"  # of those that meet all, the one that lost the least
    assert take("itl=60ms") == "none"
    assert take("itl=12ms, quality=-5%") == "int4"
    assert take("itl=12ms,ttft=300ms,quality=-5%") is None
    assert frontier(ROWS) == ["none", "int8", "int4"]
    assert Target.read("ttft=2s", None).times == Objective(ttft=2.0)
    for wrong in ("itl", "quality=1%", "quality=-1%,quality=-2%", "e2e=3s", "itl=fast"):
        with pytest.raises(InputError):
            Target.read(wrong, None)


def test_names_of_neighbours_do_not_cover_each_other() -> None:
    places = [("none", 15, 0.0), ("int8", 126, 0.001), ("int8+smoothquant", 130, 0.001), ("int4+awq", 177, 0.007)]
    places += [("int4", 161, 0.05), ("int4+gptq", 175, 0.006), ("int4+other", 176, 0.0065)]
    rows = [{"name": n, "tokens_per_s": rate, "change": lost, "frontier": True} for n, rate, lost in places]
    drawn = figure({"plans": rows, "quality": 0.03})
    words = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"( text-anchor="end")?>([^<]*)</text>', drawn)
    boxes = []
    for x, y, ends, name in words:
        if name in dict.fromkeys(n for n, _, _ in places):
            left = float(x) - 6.2 * len(name) if ends else float(x)
            boxes.append((left, left + 6.2 * len(name), float(y)))
    assert len(boxes) == 7
    for n, (left, right, foot) in enumerate(boxes):
        assert 0 <= left < right <= 470
        assert not any(left < r and e < right and abs(foot - f) < 11 for e, r, f in boxes[:n])


def test_a_pruned_model_has_plans_of_its_own(tmp_path: Path) -> None:
    plans = {p.name: p for p in plans_of(tmp_path, "model", [], pruned=tmp_path / "pruned")}
    assert len(plans) == 12
    assert plans["pruned+int4+gptq"].source == tmp_path / "pruned"
    assert plans["pruned+int4+gptq"].form == plans["int4+gptq"].form
    some = plans_of(tmp_path, "model", ["pruned"], pruned=tmp_path / "pruned")
    assert [p.name for p in some] == ["none", "pruned"]


def test_a_pruned_champion_is_compared_with_what_it_was_cut_from(stack: Stack) -> None:
    cut = stack.state / "runs" / ("d" * 32)
    with publish(cut) as staging:
        whole = open_model(base_of(stack))
        carve = Kept(blocks=(0,), groups=(tuple(range(whole.spec.stack.blocks[0].attention.kv_heads)),), channels=())
        carve = replace(carve, channels=(tuple(range(whole.spec.stack.blocks[0].feedforward.inner)),))
        save_model(carved(whole, carve), staging / "model", like=base_of(stack))
        (staging / "run.json").write_text(json.dumps({"pruning": {"of": f"bases/{BASE}", "part": ""}}))
    quiet = open_progress("quiet")
    served = Workshop(stack.state, quiet).run(served_stage(stack, cut, part="model", corpus=None))
    before = _champion(stack)
    register(stack, served, {"role": "documents", "run": cut.name, "corpus": CORPUS, "metrics": {}}, quiet)
    try:
        assert _champion(stack) != before
        found = compress(stack, slo="quality=-10000%", plans=["int8", "pruned+int8"], take="pruned+int8", json=True)
        rows = {row["name"]: row for row in found["plans"]}
        assert list(rows) == ["none", "int8", "pruned+int8"]
        assert rows["pruned+int8"]["parameters"] < rows["none"]["parameters"]
        assert rows["none"]["change"] == 0
        taken = compress(stack, slo="quality=-10000%", plans=["int8", "pruned+int8"], take="int8", json=True)
        with open_registry(stack) as registry:
            assert registry.resolve(found["version"]).run == cut.name
            assert registry.resolve(taken["version"]).run is None
            assert [registry.resolve(one["version"]).parent for one in (found, taken)] == [_champion(stack)] * 2
    finally:
        with open_registry(stack) as registry:
            registry.rollback(because="the other tests")


def _champion(stack: Stack) -> str:
    with open_registry(stack) as registry:
        return registry.resolve("champion").id
