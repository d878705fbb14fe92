"""Decoding and drawing on a GPU equal the plain ways, alone and among others; without one: what is chosen, and why."""

from __future__ import annotations

import pytest
import torch

from lamina.contracts.inference import SamplingParams
from lamina.deployment.compress.quantize import dequantize, quantize
from lamina.deployment.engine.drawing import draw_together
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.gpu.graphs import parts_of
from lamina.deployment.engine.place import Piece, Place
from lamina.deployment.engine.runner import Runner
from lamina.deployment.engine.sampling import Sampler
from lamina.deployment.engine.sizes import suited
from lamina.deployment.loaded import placed
from lamina.kit.errors import ConfigError, LaminaError
from lamina.model import device as devices
from lamina.model.device import choose_device
from lamina.testing import Answer

IDS = [5, 3, 60, 7, 7, 41, 0, 12, 80, 33, 2, 19, 54, 23, 8, 9, 71, 70, 69, 1, 44, 6]
ROUNDING = 0.2  # of bfloat16 weights and products, against float32; scores spread over 4
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def samplers(*given: dict[str, object]) -> list[Sampler]:
    return [
        Sampler(**{"temperature": 1.0, "top_p": 1.0, "top_k": None, "seed": n, "logprobs": None} | g)  # type: ignore[arg-type]
        for n, g in enumerate(given)
    ]


def test_a_model_of_int8_weights_stands_for_a_plain_one(tiny_model) -> None:
    int8 = quantize(tiny_model())
    plain = dequantize(int8, torch.float32)
    ids = torch.tensor([IDS])
    torch.testing.assert_close(plain.logits(plain(ids)), int8.logits(int8(ids)), rtol=0, atol=0.15)  # bfloat16 products
    layer, whole = int8.stack.blocks[0].feedforward.up, plain.stack.blocks[0].feedforward.up
    assert torch.equal(whole.weight, layer.weight * layer.scale.float()[:, None])
    assert whole.weight.dtype == torch.float32
    assert placed(int8, torch.device("cpu")) is int8


def test_each_row_is_drawn_by_its_own_sampler_and_fails_alone() -> None:
    torch.manual_seed(0)
    scores = torch.randn(4, 50)
    scores[2] = float("nan")
    given = samplers({"temperature": 0.0}, {"top_k": 5, "logprobs": 3}, {}, {"top_p": 0.5})
    drawn = draw_together(scores, given, [7, 8, 9, 10])
    assert isinstance(drawn[2], LaminaError)
    for number in (0, 1, 3):
        assert drawn[number] == given[number].draw(scores[number].numpy(), 7 + number)


def test_a_gpu_that_torch_cannot_use_is_told_with_the_remedy(monkeypatch, caplog) -> None:
    monkeypatch.setattr(devices, "gpu_is_there", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    assert "TORCH=cuda make setup" in caplog.text
    with pytest.raises(ConfigError, match="a GPU that torch cannot use") as caught:
        choose_device("cuda", where="deployment.device")
    assert caught.value.where == "deployment.device"
    monkeypatch.setattr(devices, "gpu_is_there", lambda: False)
    with pytest.raises(ConfigError, match="no GPU"):
        choose_device("cuda")
    assert suited(torch.device("cpu")).rows == 16


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "qwen3", "smollm3"])
@pytest.mark.parametrize("kernels", ["graphs", "torch"])
def test_scores_equal_the_models(family, kernels, tiny_model) -> None:
    model = tiny_model(family)
    with torch.inference_mode():
        truth = model.logits(model(torch.tensor([IDS])))[0]
    run = Runner(
        placed(tiny_model(family), torch.device("cuda")),
        blocks=40,
        block_tokens=4,
        context=80,
        kernels=kernels,
        most=5,
    )
    blocks = [(9, 3, 4, 31, 0, 8, 7, 6), (20, 21, 22, 23, 24, 25, 26, 27), (10, 11, 12, 13, 14, 15, 16, 17)]
    for place in blocks:
        scores = run.prefill(IDS[:20], Place(place, 0), scores=True)
        torch.testing.assert_close(scores.cpu(), truth[19], rtol=0, atol=ROUNDING)
    for at in (20, 21):
        scores = run.decode([IDS[at]] * 3, [Place(place, at) for place in blocks])
        for row in scores.cpu():
            torch.testing.assert_close(row, truth[at], rtol=0, atol=ROUNDING)
    if kernels == "graphs" and run.kernels == "torch":
        pytest.skip("this model's heads are of a size that the kernels do not know")


def in_one_call(found: list[list[Piece]]) -> list[list[tuple[int, int, bool]]]:
    return [[(len(p.tokens), p.place.stored, p.scores) for p in part] for part in found]


def test_pieces_are_cut_where_a_graph_is_full() -> None:
    pieces = [
        Piece([1], Place([0], 9)),
        Piece([*range(10)], Place([1], 4), scores=False),
        Piece([2] * 3, Place([2], 0)),
    ]
    assert in_one_call([*parts_of(pieces, 16, 4)]) == [[(1, 9, True), (10, 4, False), (3, 0, True)]]
    assert in_one_call([*parts_of(pieces, 8, 4)]) == [
        [(1, 9, True), (7, 4, False)],
        [(3, 11, False), (3, 0, True)],
    ]
    assert in_one_call([*parts_of(pieces, 16, 2)]) == [[(1, 9, True), (10, 4, False)], [(3, 0, True)]]
    long = [Piece([*range(20)], Place([0], 0))]
    assert in_one_call([*parts_of(long, 8, 4)]) == [[(8, 0, False)], [(8, 8, False)], [(4, 16, True)]]
    assert [t for part in parts_of(long, 8, 4) for p in part for t in p.tokens] == [*range(20)]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_answers_and_prompts_in_one_graph(family, tiny_model) -> None:
    model = tiny_model(family)
    with torch.inference_mode():
        truth = model.logits(model(torch.tensor([IDS])))[0]
    sizes = {"blocks": 40, "block_tokens": 4, "context": 80, "kernels": "graphs", "most": 3}
    run = Runner(placed(tiny_model(family), torch.device("cuda")), **sizes)
    if run.kernels != "graphs":
        pytest.skip("this model's heads are of a size that the kernels do not know")
    first, second = (9, 3, 4, 31, 0, 8, 7, 6), (20, 21, 22, 23, 24, 25, 26, 27)
    assert run.together([Piece(IDS[:5], Place(first, 0), scores=False)]).shape[0] == 0
    scores = run.together([Piece(IDS[5:9], Place(first, 5)), Piece(IDS[:17], Place(second, 0))])
    for row, at in zip(scores.cpu(), (8, 16), strict=True):
        torch.testing.assert_close(row, truth[at], rtol=0, atol=ROUNDING)
    scores = run.together([Piece(IDS[9:10], Place(first, 9)), Piece(IDS[17:], Place(second, 17))])
    for row, at in zip(scores.cpu(), (9, len(IDS) - 1), strict=True):
        torch.testing.assert_close(row, truth[at], rtol=0, atol=ROUNDING)


@pytest.mark.gpu
@needs_gpu
def test_drawing_together_equals_drawing_alone() -> None:
    torch.manual_seed(1)
    scores = 3 * torch.randn(6, 3000)
    given = samplers(
        {"temperature": 0.0},
        {"top_k": 5, "logprobs": 4},
        {"top_p": 0.7},
        {"top_p": 0.9, "top_k": 50, "temperature": 0.7},
        {"temperature": 0.0, "logprobs": 0},
        {"top_k": 1},
    )
    for place in range(40):
        together = draw_together(scores.cuda(), given, [place] * 6)
        for row, sampler, drawn in zip(scores, given, together, strict=True):
            alone = sampler.draw(row.numpy(), place)
            assert drawn.token == alone.token
            assert drawn.logprob == pytest.approx(alone.logprob, abs=1e-4)
            assert drawn.entropy == pytest.approx(alone.entropy, abs=1e-3)
            assert (drawn.top is None) == (alone.top is None)
    broken = scores.cuda()
    broken[3] = float("nan")
    assert isinstance(draw_together(broken, given, [0] * 6)[3], LaminaError)


@pytest.mark.gpu
@needs_gpu
def test_an_answer_is_the_same_alone_and_among_others(tiny_model, tiny_tokenizer) -> None:
    engine = Engine(placed(tiny_model(), torch.device("cuda")), tiny_tokenizer, version="v1", cache_mb=8)
    generator = torch.Generator().manual_seed(7)
    prompts = [torch.randint(0, 80, (n,), generator=generator).tolist() for n in (3, 17, 40, 9, 28, 33, 5, 12, 50)]
    sampling = SamplingParams(temperature=0.0, max_tokens=24)

    def ask(which: list[int]) -> dict[int, list[int]]:
        answers = {number: Answer() for number in which}
        for number, answer in answers.items():
            engine.submit(f"{number}", prompts[number], sampling, answer)
        return {number: answer.tokens for number, answer in answers.items()}

    try:
        together = ask(list(range(len(prompts))))
        for number in range(len(prompts)):
            assert ask([number])[number] == together[number]
    finally:
        engine.close()
