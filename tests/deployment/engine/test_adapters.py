"""Adapters beside one base, mixed in a batch: each row as the merged model would have it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from lamina.contracts.inference import SamplingParams
from lamina.deployment.compress.quantize import dequantize, quantize
from lamina.deployment.engine.adapters import EngineAdapter, fuse_adapter
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.native.binding import describe, open_library
from lamina.deployment.engine.place import Place
from lamina.deployment.engine.runner import Runner
from lamina.deployment.engine.speculation import Speculation
from lamina.kit.errors import ModelFileError
from lamina.model.adapters import read_adapter
from lamina.model.lora import DEFAULT_TARGETS as ALL
from lamina.testing import Answer

GREEDY = SamplingParams(temperature=0.0, max_tokens=12)
NATIVE_HERE = pytest.mark.skipif(open_library() is None, reason=f"native kernels: {describe()}")


@pytest.fixture
def engine(engine):
    return partial(engine, chunk=16, wide_chunk=32, speculate=False)


def fuse(one: Engine, folder: Path) -> EngineAdapter:
    spec = one.runner.model.spec
    return fuse_adapter(read_adapter(folder, spec), spec.stack, name=folder.name, device=one.runner.device)


def prompts(count: int, longest: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(1, longest, (count,), generator=generator).tolist()
    return [torch.randint(0, 80, (n,), generator=generator).tolist() for n in lengths]


def naive(model, prompt: list[int], count: int, end: int) -> list[int]:
    """Greedy decoding without a cache."""
    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) < len(prompt) + count:
            token = int(model.logits(model(torch.tensor([ids]))[0, -1]).argmax())
            if token == end:
                break
            ids.append(token)
    return ids[len(prompt) :]


def ask(one: Engine, prompt: list[int], adapter, number: int, sampling=GREEDY) -> Answer:
    answer = Answer()
    one.submit(f"r{number}-{id(answer)}", prompt, sampling, answer, adapter=adapter)
    return answer


@pytest.mark.parametrize(
    ("family", "bits", "targets"),
    [
        ("llama", None, ALL),
        ("gpt2", None, ("o", "up", "down")),
        pytest.param("llama", "int8", ALL, marks=NATIVE_HERE),
        pytest.param("llama", "int4", ALL, marks=NATIVE_HERE),
        pytest.param("gpt2", "int8", ("o", "up", "down"), marks=NATIVE_HERE),
    ],
)
def test_rows_of_a_batch_answer_as_their_merged_models(
    family, bits, targets, engine, adapter, merged, tiny_model, tiny_tokenizer
) -> None:
    """Two adapters and none in one batch, in chunks; the base is quantised where the library computes."""
    folders = [adapter("a", family, targets=targets), adapter("other", family, rank=9, targets=targets), None]
    plain = dequantize(quantize(tiny_model(family), bits), torch.float32) if bits else tiny_model(family)
    asked = prompts(6, longest=40)
    expected = []
    for number, prompt in enumerate(asked):
        whole = merged(tiny_model(family), None)
        whole.load_state_dict(plain.state_dict())
        expected.append(naive(merged(whole, folders[number % 3]), prompt, 12, tiny_tokenizer.end_ids[0]))
    base, kernels = (quantize(tiny_model(family), bits), "native") if bits else (tiny_model(family), "torch")
    one = engine(base, kernels=kernels, chunk=8)
    fused = [fuse(one, folder) if folder else None for folder in folders]
    answers = [ask(one, prompt, fused[number % 3], number) for number, prompt in enumerate(asked)]
    assert [a.tokens for a in answers] == expected
    without = [ask(one, prompt, None, 100 + number).tokens for number, prompt in enumerate(asked)]
    assert sum(a != b for a, b in zip(without, expected, strict=True)) >= 3, "the adapters change hardly anything"


def test_no_prefix_is_shared_between_adapters(engine, adapter, merged, tiny_model, tiny_tokenizer) -> None:
    """The same prompt through the base and two adapters, in turn: each answers as if it were alone."""
    one, prompt = engine(), prompts(1, longest=60)[0]
    folders = {"": None, "a": adapter("a"), "other": adapter("other")}
    fused = {name: fuse(one, f) if f else None for name, f in folders.items()}
    end = tiny_tokenizer.end_ids[0]
    expected = {name: naive(merged(tiny_model(), f), prompt, 12, end) for name, f in folders.items()}
    assert len({tuple(tokens) for tokens in expected.values()}) == 3
    for name in folders:
        first, second = (ask(one, prompt, fused[name], number) for number in range(2))
        assert first.tokens == second.tokens == expected[name]
        assert (first.last.usage.cached_tokens, second.last.usage.cached_tokens) == (0, 32), name


def test_rows_of_compiled_kernels_do_not_see_the_adapters_of_others(engine, adapter, tiny_model) -> None:
    """numba's kernels know no adapters: such rows go through torch, the others do not."""
    one = engine(quantize(tiny_model()), kernels="compiled")
    if one._runner.kernels != "compiled":
        pytest.skip("numba does not work here")
    fused = fuse(one, adapter("a"))
    asked = prompts(4, longest=20)
    alone = [ask(one, p, fused if n % 2 else None, n).tokens for n, p in enumerate(asked)]
    together = [ask(one, p, fused if n % 2 else None, 10 + n) for n, p in enumerate(asked)]
    assert [a.tokens for a in together] == alone
    assert ask(one, asked[1], None, 20).tokens != alone[1]


def test_rows_go_to_the_faster_kernels_where_their_adapter_is_known(adapter, tiny_model) -> None:
    """CUDA graphs know adapters up to some rank: the others of a step go through torch, and their rows alone."""
    run = Runner(tiny_model(), blocks=8, block_tokens=8, context=24, kernels="torch")
    spec = run.model.spec
    folders = (adapter("a"), adapter("other", rank=9))
    low, high = (fuse_adapter(read_adapter(f, spec), spec.stack, name=f.name, device=run.device) for f in folders)
    assert (low.rank, high.rank) == (4, 9)
    places = [Place([n], 0, one) for n, one in enumerate((high, None, low, high))]
    alone = [run.decode([n], [place])[0] for n, place in enumerate(places)]

    class Graphs:
        def knows(self, one: EngineAdapter | None) -> bool:
            return one is None or one.rank <= 4

        def __call__(self, tokens, places):
            return torch.tensor(tokens, dtype=torch.float32)[:, None].expand(-1, len(alone[0]))

    run._graphs = Graphs()
    scores = run.decode([*range(4)], places)
    assert torch.equal(scores[1:3], run._graphs([1, 2], places[1:3]))
    for row in (0, 3):
        torch.testing.assert_close(scores[row], alone[row])
    assert run.mixes(places[1:3])
    assert not run.mixes(places)


def test_guesses_are_checked_with_the_adapter(engine, adapter, monkeypatch) -> None:
    """Of a few tokens that come again and again, so that there is something to guess; the scores say which."""
    folder, prompt = adapter("a"), [9, 41, 60, 7] * 6
    sampling = SamplingParams(temperature=0.0, max_tokens=40, logit_bias=tuple((t, 60.0) for t in (9, 41, 60, 7)))
    tokens, checked = [], []
    for guess in (0, 4):
        monkeypatch.setattr(Speculation, "length", lambda *_, guess=guess: guess)
        one = engine(speculate=True)
        check = one.runner.check
        monkeypatch.setattr(one.runner, "check", lambda *a, check=check: (checked.append(a), check(*a))[1])
        tokens.append(ask(one, prompt, fuse(one, folder), guess, sampling).tokens)
    assert len(checked) > 3
    assert tokens[0] == tokens[1]
    assert ask(one, prompt, None, 9, sampling).tokens != tokens[0]


def test_an_adapter_on_the_head_is_refused(engine, adapter) -> None:
    one = engine()
    with pytest.raises(ModelFileError, match="head"):
        fuse(one, adapter("a", targets=("q", "head")))
