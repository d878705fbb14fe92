from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.kit.errors import ConfigError
from lamina.model.architectures.gpt import gpt2, llama
from lamina.model.architectures.presets import PRESETS, preset
from lamina.model.spec import AttentionSpec, ModelSpec, NormSpec, RotarySpec


@given(
    heads=st.sampled_from([2, 4, 6]),
    per_head=st.sampled_from([4, 8]),
    layers=st.integers(1, 4),
    tied=st.booleans(),
    theta=st.floats(100, 1e6),
)
def test_a_spec_survives_json(heads: int, per_head: int, layers: int, tied: bool, theta: float):
    spec = llama(vocabulary=50, width=heads * per_head, layers=layers, heads=heads, kv_heads=2, theta=theta, tied=tied)
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    plain = gpt2(vocabulary=50, width=heads * per_head, layers=layers, heads=heads)
    assert ModelSpec.from_json(json.loads(json.dumps(plain.to_json()))) == plain


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_take_the_tokenizers_vocabulary(name: str):
    assert preset(name, vocabulary=1234).stack.embeddings.vocabulary == 1234
    assert preset(name).stack.embeddings.vocabulary > 1234


def test_smollm2_preset_has_the_published_size():
    import torch

    from lamina.model.transformer import Transformer

    with torch.device("meta"):
        assert Transformer(preset("smollm2-135m")).parameter_count == 134_515_008
        assert Transformer(preset("smollm2-360m")).parameter_count == 361_821_120


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: AttentionSpec(heads=3, kv_heads=2, head_dim=4), "multiple"),
        (lambda: AttentionSpec(heads=2, kv_heads=2, head_dim=5, rotary=RotarySpec()), "even"),
        (lambda: NormSpec(kind="batch", eps=1e-5), "layer, rms"),  # type: ignore[arg-type]
        (lambda: NormSpec(kind="rms", eps=0.0), "above zero"),
        (lambda: RotarySpec(scaling="llama3", low=4.0, high=1.0), "high"),
        (lambda: llama(width=30, heads=4), "30"),
        (lambda: preset("huge"), "tiny"),
    ],
)
def test_impossible_specs_are_refused_in_words(make, word: str):
    with pytest.raises(ConfigError, match=word):
        make()


def test_json_with_unknown_or_missing_or_wrong_values_is_refused():
    good = llama().to_json()
    with pytest.raises(ConfigError, match="colour"):
        ModelSpec.from_json(good | {"colour": 1})
    stack = good["decoder"]
    with pytest.raises(ConfigError, match="missing: norm"):
        ModelSpec.from_json(good | {"decoder": {k: v for k, v in stack.items() if k != "norm"}})
    with pytest.raises(ConfigError, match="max_positions"):
        ModelSpec.from_json(good | {"max_positions": "many"})
    with pytest.raises(ConfigError, match=r"spec\.decoder\.norm"):
        ModelSpec.from_json(good | {"decoder": stack | {"norm": 3}})
