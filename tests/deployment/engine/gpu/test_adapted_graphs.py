"""Rows with adapters in CUDA graphs, beside rows that have others or none."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest
import torch

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.adapters import EngineAdapter, fuse_adapter
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.gpu.slots import MOST_RANK
from lamina.deployment.engine.place import Piece, Place
from lamina.deployment.engine.runner import Runner
from lamina.deployment.loaded import placed
from lamina.model.adapters import read_adapter
from lamina.model.lora import DEFAULT_TARGETS
from lamina.testing import Answer

IDS = [5, 3, 60, 7, 7, 41, 0, 12, 80, 33, 2, 19, 54, 23, 8, 9, 71, 70, 69, 1, 44, 6]
ROUNDING = 0.5  # of bfloat16 weights and products; scores of two of the models are 2.7 apart at least
TABLES = [(9, 3, 4, 31, 0, 8), (20, 21, 22, 23, 24, 25), (10, 11, 12, 13, 14, 15)]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def runner(model, most: int = 3) -> Runner:
    """One that computes by graphs; skips where the kernels do not know such models."""
    whole = placed(model, torch.device("cuda"))
    run = Runner(whole, blocks=40, block_tokens=4, context=80, kernels="graphs", most=most)
    if run.kernels != "graphs":
        pytest.skip("this model's heads are of a size that the kernels do not know")
    return run


def fuse(run: Runner, folder: Path | None) -> EngineAdapter | None:
    if folder is None:
        return None
    spec = run.model.spec
    return fuse_adapter(read_adapter(folder, spec), spec.stack, name=folder.name, device=run.device)


def truth(model) -> torch.Tensor:
    with torch.inference_mode():
        return model.logits(model(torch.tensor([IDS])))[0]


def close(scores, *expected) -> None:
    assert len(scores) == len(expected)
    for row, wanted in zip(scores.cpu(), expected, strict=True):
        torch.testing.assert_close(row, wanted, rtol=0, atol=ROUNDING)


@pytest.fixture
def three(adapter):
    """``three(family)``: the folders of two adapters of different ranks, and None."""

    def make(family: str = "llama") -> list[Path | None]:
        targets = ("o", "up", "down") if family == "gpt2" else DEFAULT_TARGETS
        return [adapter("a", family, targets=targets), None, adapter("other", family, rank=19, targets=targets)]

    return make


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "qwen3"])
def test_each_row_scores_as_its_merged_model(family, three, merged, tiny_model, monkeypatch) -> None:
    folders = three(family)
    truths = [truth(merged(tiny_model(family), folder)) for folder in folders]
    run = runner(tiny_model(family))
    adapters = [fuse(run, folder) for folder in folders]
    monkeypatch.setattr(run, "_forward", None)  # nothing goes through torch
    for table, adapter, wanted in zip(TABLES, adapters, truths, strict=True):
        assert run.prefill(IDS[:4], Place(table, 0, adapter), scores=False) is None
        close(run.prefill(IDS[4:9], Place(table, 4, adapter), scores=True)[None], wanted[8])
    for at in (9, 10):
        places = [Place(table, at, adapter) for table, adapter in zip(TABLES, adapters, strict=True)]
        assert run.mixes(places)
        close(run.decode([IDS[at]] * 3, places), *(wanted[at] for wanted in truths))
    places = [Place(table, 11, adapter) for table, adapter in zip(TABLES, adapters, strict=True)]
    ends = (12, 21, 15)
    scores = run.together([Piece(IDS[11:end], place) for end, place in zip(ends, places, strict=True)])
    close(scores, *(wanted[end - 1] for wanted, end in zip(truths, ends, strict=True)))
    checked = run.check(IDS[12:15], Place(TABLES[0], 12, adapters[0]))
    close(checked, *truths[0][12:15])


def test_a_rows_scores_do_not_depend_on_its_neighbours(three, tiny_model) -> None:
    run = runner(tiny_model())
    first, _, second = (fuse(run, folder) for folder in three())

    def decoded(*adapters: EngineAdapter | None) -> torch.Tensor:
        places = [Place(table, 9, adapter) for table, adapter in zip(TABLES, adapters, strict=True)]
        return run.decode([IDS[9]] * 3, places).clone()

    def mixed(*adapters: EngineAdapter | None) -> torch.Tensor:
        places = [Place(table, 9, adapter) for table, adapter in zip(TABLES, adapters, strict=True)]
        return run.together([Piece(IDS[9 : 9 + n], p) for n, p in zip((1, 7, 2), places, strict=True)]).clone()

    for table in TABLES:
        run.prefill(IDS[:9], Place(table, 0), scores=False)
    for compute in (decoded, mixed):
        plain = compute(None, None, None)
        some, others, same = compute(first, None, second), compute(first, None, first), compute(first, second, None)
        assert torch.equal(plain[1], some[1])
        assert torch.equal(plain[1], others[1])
        assert torch.equal(plain[2], same[2])
        assert torch.equal(some[0], others[0])
        assert torch.equal(some[0], same[0])
        assert not torch.equal(some[0], plain[0])
        assert not torch.equal(some[2], others[2])
        assert torch.equal(compute(None, None, None), plain), "the graphs without adapters are what they were"


def test_a_slot_is_used_again(adapter, merged, tiny_model) -> None:
    """Of two slots: by one that comes after another was let go, and by three that take turns."""
    folders = {name: adapter(name) for name in ("a", "bb", "ccc")}
    truths = {name: truth(merged(tiny_model(), folder))[3] for name, folder in folders.items()}
    run = runner(tiny_model(), most=2)
    held = {name: fuse(run, folders[name]) for name in ("a", "bb")}

    def ask(*names: str) -> None:
        places = [Place(table, 0, held[name]) for table, name in zip(TABLES, names, strict=False)]
        scores = run.together([Piece(IDS[:4], place) for place in places])
        close(scores, *(truths[name] for name in names))

    ask("a", "bb")
    del held["a"]
    gc.collect()
    held["ccc"] = fuse(run, folders["ccc"])
    ask("ccc", "bb")
    held["a"] = fuse(run, folders["a"])
    for names in (("a", "bb"), ("bb", "ccc"), ("ccc", "a"), ("a",), ("bb",), ("ccc",)):
        ask(*names)


def test_a_rank_beyond_the_graphs_goes_through_torch(adapter, merged, tiny_model) -> None:
    folders = [adapter("a"), None, adapter("large", rank=MOST_RANK + 1)]
    run = runner(tiny_model())
    adapters = [fuse(run, folder) for folder in folders]
    places = [Place(table, 0, adapter) for table, adapter in zip(TABLES, adapters, strict=True)]
    assert not run.mixes(places)
    assert run.mixes(places[:2])
    truths = [truth(merged(tiny_model(), folder))[0] for folder in folders]
    close(run.decode([IDS[0]] * 3, places), *truths)


def test_an_answer_is_the_same_alone_and_among_others(three, tiny_model, tiny_tokenizer) -> None:
    engine = Engine(placed(tiny_model(), torch.device("cuda")), tiny_tokenizer, version="v1", cache_mb=8)
    adapters = [fuse(engine.runner, folder) for folder in three()]
    generator = torch.Generator().manual_seed(7)
    prompts = [torch.randint(0, 80, (n,), generator=generator).tolist() for n in (3, 17, 40, 9, 28, 33, 5, 12, 50)]
    sampling = SamplingParams(temperature=0.0, max_tokens=24)

    def ask(which: list[int]) -> dict[int, list[int]]:
        answers = {number: Answer() for number in which}
        for number, answer in answers.items():
            engine.submit(f"{number}", prompts[number], sampling, answer, adapter=adapters[number % 3])
        return {number: answer.tokens for number, answer in answers.items()}

    try:
        together = ask(list(range(len(prompts))))
        for number in range(len(prompts)):
            assert ask([number])[number] == together[number]
    finally:
        engine.close()


def test_graphs_may_be_captured_while_another_version_is_loaded(three, merged, tiny_model) -> None:
    run = runner(tiny_model())
    folder = three()[0]
    loaded: list[Runner] = []
    loading = threading.Thread(target=lambda: loaded.append(runner(tiny_model())))
    loading.start()
    scores = run.prefill(IDS[:9], Place(TABLES[0], 0, fuse(run, folder)), scores=True)
    close(scores[None], truth(merged(tiny_model(), folder))[8])
    loading.join()
    assert loaded[0].kernels == "graphs"
