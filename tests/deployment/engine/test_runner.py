from __future__ import annotations

import pytest
import torch

from lamina.deployment.compress.int4 import Int4Linear
from lamina.deployment.compress.int8 import Int8Embedding, Int8Linear
from lamina.deployment.compress.quantize import quantize
from lamina.deployment.engine.native.binding import LEVELS, best_level, describe, open_library
from lamina.deployment.engine.native.decoder import NativeDecoder
from lamina.deployment.engine.place import Place
from lamina.deployment.engine.runner import Runner
from lamina.kit.errors import ConfigError, LaminaError
from lamina.model.architectures.bert import bert
from lamina.model.architectures.seq2seq import t5
from lamina.model.spec import ModelSpec
from lamina.model.transformer import Transformer

IDS = [5, 3, 60, 7, 7, 41, 0, 12, 80, 33, 2, 19, 54, 23, 8, 9, 71, 70, 69, 1, 44, 6]


def widened(model: Transformer) -> Transformer:
    """The float32 model that an int8 ``model`` stands for."""
    plain = Transformer(model.spec).eval()
    state = plain.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, Int8Linear | Int4Linear | Int8Embedding):
            state[f"{name}.weight"] = module.widened()
            if getattr(module, "bias", None) is not None:
                state[f"{name}.bias"] = module.bias
    state |= dict(model.named_parameters())
    plain.load_state_dict(state)
    return plain


def reference(model: Transformer, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model.logits(model(torch.tensor([ids])))[0]


def runner(model: Transformer, kernels: str, *, sole: bool = False) -> Runner:
    made = Runner(model, blocks=40, block_tokens=4, context=80, kernels=kernels, sole=sole)  # type: ignore[arg-type]
    assert made.kernels == kernels
    return made


native = pytest.mark.skipif(open_library() is None, reason=f"native kernels: {describe()}")
CASES = [
    pytest.param("llama", None, "torch", 1e-4, id="llama float32"),
    pytest.param("gpt2", None, "torch", 1e-4, id="gpt2 float32"),
    pytest.param("qwen2", None, "torch", 1e-4, id="qwen2 float32"),
    pytest.param("qwen3", None, "torch", 1e-4, id="qwen3 float32"),
    pytest.param("smollm3", None, "torch", 1e-4, id="smollm3 float32"),
    pytest.param("gemma3", None, "torch", 1e-4, id="gemma3 float32"),
    pytest.param("gemma3", "int8", "torch", 0.12, id="gemma3 int8, torch"),
    pytest.param("qwen3", "int8", "torch", 0.12, id="qwen3 int8, torch"),
    pytest.param("llama", "int8", "torch", 0.12, id="llama int8, torch"),
    pytest.param("gpt2", "int8", "torch", 0.12, id="gpt2 int8, torch"),
    pytest.param("llama", "int8", "compiled", 1e-4, id="llama int8, compiled"),
    *(
        pytest.param(family, "int8", "native", 2e-3, id=f"{family} int8, native", marks=native)
        for family in ("llama", "gpt2", "qwen2", "qwen3", "smollm3")
    ),
    pytest.param("llama", "int4", "torch", 0.12, id="llama int4, torch"),
    *(
        pytest.param(family, "int4", "native", 2e-3, id=f"{family} int4, native", marks=native)
        for family in ("llama", "gpt2")
    ),
]


@pytest.mark.parametrize(("family", "bits", "kernels", "tolerance"), CASES)
@pytest.mark.parametrize("blocks", [tuple(range(8)), (9, 3, 4, 31, 0, 8, 7, 6)], ids=["neighbours", "scattered"])
def test_scores_equal_the_models(family, bits, kernels, tolerance, blocks, tiny_model) -> None:
    model = quantize(tiny_model(family), bits) if bits else tiny_model(family)
    truth = reference(widened(model) if bits else tiny_model(family), IDS)
    run = runner(model, kernels)
    for first, second in ((0, 17), (17, 19)):
        scores = run.prefill(IDS[first:second], Place(blocks, first), scores=True)
        likely = truth[second - 1].topk(20).indices
        exact = 2e-3 if kernels == "native" else 1e-4  # inputs of 16 bits
        torch.testing.assert_close(scores[likely], truth[second - 1][likely], rtol=0, atol=exact)
        torch.testing.assert_close(scores, truth[second - 1], rtol=0, atol=tolerance)
    assert run.prefill(IDS[19:20], Place(blocks, 19), scores=False) is None
    for place in (20, 21):
        scores = run.decode([IDS[place]], [Place(blocks, place)])
        torch.testing.assert_close(scores[0], truth[place], rtol=0, atol=tolerance)
        assert int(scores[0].argmax()) == int(truth[place].argmax())


@pytest.mark.parametrize(
    "spec",
    [
        bert(vocabulary=60, width=16, layers=1, heads=2),
        t5(vocabulary=60, width=16, layers=1, heads=2, head_dim=8, inner=32),
    ],
    ids=["bert", "t5"],
)
def test_what_cannot_be_served_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(ConfigError, match="trained and evaluated, not served"):
        Runner(Transformer(spec), blocks=4, block_tokens=4, context=16)


@pytest.mark.parametrize("kernels", ["torch", "compiled", pytest.param("native", marks=native)])
def test_rows_of_a_decoded_batch_are_computed_as_if_alone(kernels, tiny_model) -> None:
    lengths = [1, 5, 12, 19, 7]
    tables = [tuple(range(8 * n, 8 * n + 8)) for n in range(5)]

    def filled() -> Runner:
        run = runner(quantize(tiny_model()), kernels)
        for table, length in zip(tables, lengths, strict=True):
            run.prefill(IDS[:length], Place(table, 0), scores=False)
        return run

    together = filled().decode(IDS[:5], [Place(t, n) for t, n in zip(tables, lengths, strict=True)])
    run = filled()
    for row in range(5):
        alone = run.decode(IDS[row : row + 1], [Place(tables[row], lengths[row])])
        assert torch.equal(alone[0], together[row])


@native
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_weights_that_the_library_packed_are_let_go(bits, tiny_model) -> None:
    model = quantize(tiny_model(), bits)
    run = runner(model, "native", sole=True)
    held = [name for name, t in model.stack.blocks.state_dict().items() if not t.is_floating_point() and t.numel()]
    assert held == []
    assert run.decode([3], [Place((0,), 0)]).shape == (1, 88)
    assert run.prefill(IDS, Place(tuple(range(8)), 0), scores=True).shape == (88,)


@native
@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_a_model_may_be_run_again_when_nobody_said_that_it_would_not(bits, tiny_model) -> None:
    model = quantize(tiny_model(), bits)
    scores = []
    for _ in range(2):
        run = runner(model, "native")
        scores.append(run.prefill(IDS, Place(tuple(range(8)), 0), scores=True))
        run.close()
    assert torch.equal(*scores)
    with torch.inference_mode():
        alone = model.logits(model(torch.tensor([IDS])))[0, -1]
    torch.testing.assert_close(scores[0], alone.float(), rtol=0.1, atol=0.1)


def test_weights_are_held_once(tiny_model) -> None:
    model = quantize(tiny_model())
    run = runner(model, "compiled")
    fused = run._layers[0].products[0].weight
    assert model.stack.blocks[0].attention.k.weight.untyped_storage().data_ptr() == fused.untyped_storage().data_ptr()
    assert run._compiled is not None
    assert run._compiled._layers[0][0][0].ctypes.data == fused.data_ptr()


def auto(model: Transformer) -> Runner:
    return Runner(model, blocks=4, block_tokens=4, context=16)


def test_the_faster_way_is_taken(tiny_model, monkeypatch) -> None:
    runner = "lamina.deployment.engine.runner"
    if open_library() is not None:
        for wins in (True, False):
            monkeypatch.setattr(f"{runner}.faster", lambda ours, theirs, what, wins=wins: wins)
            assert auto(quantize(tiny_model())).kernels == ("native" if wins else "torch")
    monkeypatch.undo()
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", "off")
    assert auto(quantize(tiny_model())).kernels in ("compiled", "torch")
    monkeypatch.setattr("lamina.deployment.engine.compiled.load_kernels", lambda spec: None)
    assert auto(quantize(tiny_model())).kernels == "torch"


@native
def test_native_kernels_that_give_other_scores_are_not_used(tiny_model, monkeypatch, caplog) -> None:
    def otherwise(self: object, *given: object, **options: object) -> torch.Tensor:
        return torch.randn(88)

    monkeypatch.setattr("lamina.deployment.engine.runner.NativeDecoder.prefill", otherwise)
    assert auto(quantize(tiny_model())).kernels == "torch"
    assert "do not give torch's scores" in caplog.text


@native
def test_what_the_model_does_not_have_is_refused_before_the_library_reads_it(tiny_model) -> None:
    run = runner(quantize(tiny_model()), "native")
    places = [(1, Place((40,), 0)), (1, Place((0,), 4)), (1, Place((0,), -1))]
    for token, place in [(-1, Place((0,), 0)), (88, Place((0,), 0)), *places]:
        with pytest.raises(LaminaError, match="does not have"):
            run.decode([token], [place])
        with pytest.raises(LaminaError, match="does not have"):
            run.decode([1, token], [Place((2, 3), 5), place])  # beside one that it has
    with pytest.raises(LaminaError, match="does not have"):
        run.prefill(list(range(7)), Place((0, 40), 0), scores=False)  # its later tokens
    with pytest.raises(LaminaError, match="does not have"):
        run.prefill([], Place((0,), 0), scores=True)  # nothing whose scores could be told
    assert bool(torch.isfinite(run.decode([1], [Place((0,), 0)])).all())


@native
def test_scores_do_not_depend_on_threads_or_on_how_a_prompt_is_cut(tiny_model) -> None:
    """Also over more tokens than are attended to in one go, and by rows as by spans."""
    ids, blocks = (IDS * 14)[:300], tuple(range(79, 4, -1))
    seen = []
    for threads, cuts in ((1, (300,)), (2, (299, 300)), (2, (7, 150, 296, 300)), (3, (260, 299, 300))):
        model = quantize(tiny_model())
        run = Runner(model, blocks=80, block_tokens=4, context=320, kernels="torch")
        decoder = NativeDecoder(model.stack, run._layers, model.head, context=320, block_tokens=4, threads=threads)
        for start, end in zip((0, *cuts), cuts, strict=False):
            scores = decoder.prefill(ids[start:end], Place(blocks, start), scores=True)
        seen.append(scores)
        decoder.close()
    assert all(torch.equal(seen[0], other) for other in seen[1:])


@native
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_each_level_gives_the_same_scores(family, tiny_model, monkeypatch) -> None:
    """Norms, turning, attention over several goes and activations; tokens one by one and as a prompt."""
    ids, blocks, seen = (IDS * 4)[:70], tuple(range(40)), []
    for level in LEVELS[: best_level(-1) + 1]:
        monkeypatch.setenv("LAMINA_NATIVE_LEVEL", level)
        run = runner(quantize(tiny_model(family)), "native")
        prompt = run.prefill(ids, Place(blocks, 0), scores=True)
        seen.append(torch.stack((prompt, run.decode([3], [Place(blocks, 70)])[0])))
        run.close()
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0], rtol=0, atol=1e-3)


@native
def test_a_poisoned_row_is_alone_with_it(tiny_model) -> None:
    model = quantize(tiny_model())
    model.stack.embeddings.token.scale[5] = float("nan")
    run = runner(model, "native")
    scores = run.decode([5, 6], [Place((0,), 0), Place((1,), 0)])
    assert bool(torch.isnan(scores[0]).all())
    assert torch.isnan(scores[1]).nonzero().tolist() == [[5]], "the head shares the token's scale"
