"""What the native library makes of an encoder-decoder is what the model makes of it, at every level of this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lamina.deployment.compress.int8 import Int8Linear, quantize_rows
from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native.writer import NativeWriter, open_native_writer
from lamina.kit.errors import LaminaError
from lamina.model.architectures.seq2seq import marian, t5, vaswani
from lamina.model.computing import Computing, PlainComputing
from lamina.model.search import Draw, Search, search
from lamina.model.spec import HeadSpec, ModelSpec, NormSpec, StackSpec
from lamina.model.transformer import Transformer

pytestmark = pytest.mark.skipif(native.open_library() is None, reason=f"native kernels: {native.describe()}")
HERE = range(native.best_level(-1) + 1)
WORDS = 89
SIZES = {"vocabulary": WORDS, "width": 96, "layers": 2, "heads": 3, "inner": 70, "max_positions": 320, "start_token": 0}


def before_the_parts(spec: ModelSpec) -> ModelSpec:
    """The same with RMSNorm before each part, learned positions, and keys that heads share."""
    norm = NormSpec(kind="rms", eps=1e-6)

    def changed(stack: StackSpec | None) -> StackSpec:
        assert stack is not None
        attention = replace(stack.blocks[0].attention, heads=4, kv_heads=2, head_dim=32, bias=False, out_bias=False)
        cross = attention if stack.causal else None
        block = replace(stack.blocks[0], attention=attention, cross=cross, norm=norm, placement="pre")
        embeddings = replace(stack.embeddings, positions="learned", scale=1.0)
        return replace(stack, embeddings=embeddings, blocks=(block,) * 2, norm=norm)

    return replace(spec, encoder=changed(spec.encoder), decoder=changed(spec.decoder))


SPECS = {
    "marian": marian(**SIZES),
    "sines and cosines in turn": vaswani(**SIZES, activation="gelu"),
    "norms before": before_the_parts(marian(**SIZES)),
}
SOURCES = [[5, 3, 8, 1], [7, 60, 2] * 90 + [1], [9, 1], list(range(40))]


def made(spec: ModelSpec) -> Transformer:
    """A model with wide weights that int8 holds exactly (as well as its scales do)."""
    torch.manual_seed(0)
    model = Transformer(spec).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter += 0.1 * torch.randn(parameter.shape)
        else:
            steps, scale = quantize_rows(6 * parameter)
            parameter.copy_(steps * scale.float()[:, None])
    return model


def opened(model: Transformer) -> NativeWriter:
    found = open_native_writer(model, rounded=Int8Linear.of)
    assert found is not None
    return found


@pytest.mark.parametrize("level", HERE, ids=lambda level: native.LEVELS[level])
@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_scores_are_those_of_the_model_whatever_rows_go_on(name: str, level: int, monkeypatch) -> None:
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", native.LEVELS[level])
    model = made(SPECS[name])
    writer, plain = opened(model), PlainComputing(model, SOURCES)
    rows = writer.begin(SOURCES, 2, 12)
    assert rows is not None
    tokens = torch.arange(8)[:, None]
    for step in range(12):
        expected = plain.scores(tokens)
        torch.testing.assert_close(rows.scores(tokens), expected, rtol=0, atol=3e-3)
        tokens = expected.topk(2).indices[:, step % 2 :][:, :1]
        if step == 3:  # beams of a source change places, one takes another's
            chosen = torch.tensor([1, 0, 2, 2, 5, 4, 7, 7])
            for computing in (rows, plain):
                computing.keep(chosen, None)
            tokens = tokens[chosen]
        if step == 7:  # two sources are done
            chosen, stay = torch.tensor([3, 2, 4, 5]), torch.tensor([1, 2])
            for computing in (rows, plain):
                computing.keep(chosen, stay)
            tokens = tokens[chosen]
    writer.close()


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("name", SPECS)
def test_answers_are_those_of_the_model(name: str, beams: int) -> None:
    model, how = made(SPECS[name]), Search(num_beams=beams, no_repeat_ngram_size=3)
    writer = opened(model)
    limits = [9, 14, 3, 12]
    said = [
        search(model, SOURCES, ends=(1,), limits=limits, how=how, computing=c) for c in (rows_of(writer, beams), None)
    ]
    assert said[0] == said[1]
    assert len({tuple(one.tokens) for one in said[0]}) == 4


def rows_of(writer: NativeWriter, beams: int) -> Computing:
    rows = writer.begin(SOURCES, beams, 14)
    assert rows is not None
    return rows


def test_a_text_does_not_depend_on_those_beside_it_or_on_threads() -> None:
    writer = opened(made(SPECS["marian"]))

    def scores(sources: list[list[int]], threads: int) -> list[torch.Tensor]:
        writer.use_threads(threads)
        rows = writer.begin(sources, 1, 3)
        assert rows is not None
        return [rows.scores(torch.full((len(sources), 1), token)) for token in (0, 7, 5)]

    together = scores(SOURCES, 3)
    for number, source in enumerate(SOURCES):
        for alone, beside in zip(scores([source], 1), together, strict=True):
            assert torch.equal(alone[0], beside[number])


def test_drawn_answers_follow_from_the_seed() -> None:
    model = made(SPECS["marian"])
    writer, draws = opened(model), [Draw(1.5, seed) for seed in range(4)]
    given = {"ends": (1,), "limits": [8] * 4, "draws": draws}
    first, again = (search(model, SOURCES, computing=rows_of(writer, 1), **given) for _ in range(2))
    assert first == again


def test_what_there_is_no_room_for_is_left_to_torch(monkeypatch) -> None:
    writer = opened(made(SPECS["marian"]))
    assert writer.begin([[1]] * 100, 4, 50) is None
    assert writer.begin([[1]], 1, 321) is None
    rows = writer.begin([[1]], 1, 2)
    assert rows is not None
    with pytest.raises(LaminaError, match="does not have"):
        rows.scores(torch.tensor([[WORDS]]))


def test_sums_of_exponentials_are_torchs() -> None:
    rows = rows_of(opened(made(SPECS["marian"])), 1)
    scores = torch.randn(4, 5000) * 9
    torch.testing.assert_close(rows.log_sums(scores), scores.logsumexp(-1))


@pytest.mark.parametrize(
    "spec",
    [
        t5(vocabulary=WORDS, width=64, layers=1, heads=4),
        replace(marian(**SIZES), head=HeadSpec(tied=False)),
        marian(**(SIZES | {"width": 72})),
    ],
    ids=["relative positions", "a head of its own", "heads of 24"],
)
def test_other_shapes_are_left_to_torch(spec: ModelSpec) -> None:
    assert open_native_writer(Transformer(spec), rounded=Int8Linear.of) is None
