"""The native encoder is taken where it gives torch's hidden states and is faster."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lamina.deployment.compress.int8 import Int8Linear
from lamina.deployment.engine import encoders
from lamina.deployment.engine.choice import alike
from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native.encoder import NativeEncoder
from lamina.deployment.engine.native.writer import NativeRows
from lamina.model.architectures.bert import bert
from lamina.model.architectures.presets import preset
from lamina.model.architectures.seq2seq import t5
from lamina.model.transformer import Transformer

choose = partial(encoders.choose_native, context=64, rounded=Int8Linear.of, by_time=True)


@pytest.mark.skipif(native.open_library() is None, reason=f"native kernels: {native.describe()}")
def test_it_is_taken_where_it_is_as_good_and_faster(monkeypatch, caplog) -> None:
    torch.manual_seed(0)
    model = Transformer(bert(vocabulary=80, width=96, layers=2, heads=3, max_positions=64)).eval()
    monkeypatch.setattr(encoders, "faster", lambda ours, theirs, what: False)
    assert choose(model) is None
    assert choose(model, by_time=False) is not None
    monkeypatch.setattr(encoders, "faster", lambda ours, theirs, what: True)
    assert choose(model) is not None
    assert not caplog.records
    monkeypatch.setattr(NativeEncoder, "_encode", lambda self, rows: [torch.randn(len(row), 96) for row in rows])
    assert choose(model) is None
    assert "do not give torch's hidden states" in caplog.text
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", "off")
    assert choose(model) is None


@pytest.mark.skipif(native.open_library() is None, reason=f"native kernels: {native.describe()}")
def test_so_is_the_native_writer(monkeypatch, caplog) -> None:
    torch.manual_seed(0)
    model = Transformer(preset("seq2seq-nano", vocabulary=80)).eval()
    choose_writer = partial(encoders.choose_native_writer, model, rounded=Int8Linear.of)
    monkeypatch.setattr(encoders, "faster", lambda ours, theirs, what: False)
    assert choose_writer(by_time=True) is None
    assert choose_writer(by_time=False) is not None
    assert not caplog.records
    monkeypatch.setattr(NativeRows, "scores", lambda self, tokens: torch.randn(len(tokens), 80))
    assert choose_writer(by_time=False) is None
    assert "do not give torch's scores" in caplog.text
    assert (
        encoders.choose_native_writer(
            Transformer(t5(vocabulary=80, width=64, layers=1, heads=4)), rounded=Int8Linear.of, by_time=False
        )
        is None
    )


def test_alike_but_for_rounding() -> None:
    torch.manual_seed(0)
    states = torch.randn(9, 64)
    assert alike(states + 0.02 * torch.randn(9, 64), states)
    wrong = states.clone()
    wrong[4] = states[5]
    assert not alike(wrong, states), "one token's"
    assert not alike(states + 0.2 * torch.randn(1, 64), states), "the text's"
    assert not alike(torch.full_like(states, torch.nan), states)
