from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina.kit.errors import ConfigError, TooLargeError
from lamina.kit.progress import open_progress
from lamina.model.architectures.gpt import llama
from lamina.model.evaluate import scoring
from lamina.model.evaluate.answers import nll_of_completion, nll_of_completions
from lamina.model.evaluate.bits_per_byte import bits_per_byte, windows
from lamina.model.transformer import Transformer


class Bytes:
    """One token a byte; 256 ends documents. ``pairs`` reads two bytes as one token instead."""

    end_ids = (256,)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]


def make(max_positions: int = 64) -> Transformer:
    torch.manual_seed(2)
    model = Transformer(llama(vocabulary=257, width=32, layers=2, heads=4, kv_heads=2, max_positions=max_positions))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model.eval()


@torch.no_grad()
def plain_nats(model: Transformer, ids: list[int], window: int, stride: int) -> float:
    """The definition, token by token."""
    total, done, begin = 0.0, 1, 0
    while done < len(ids):
        end = min(begin + window + 1, len(ids))
        logp = model.logits(model(torch.tensor([ids[begin : end - 1]])))[0].log_softmax(-1)
        for place in range(done, end):
            total -= float(logp[place - begin - 1, ids[place]])
        done, begin = end, begin + stride
    return total


TEXTS = ["Call me Ishmael.", "", "Größe " * 20, "x", "the watery part of the world " * 6]


@pytest.mark.parametrize(("window", "stride"), [(16, 8), (64, 32), (10, 10), (7, 1)])
def test_equals_the_definition(window: int, stride: int):
    model = make()
    found = bits_per_byte(model, Bytes(), TEXTS, window=window, stride=stride)
    wanted = [plain_nats(model, [256, *t.encode()], window, stride) for t in TEXTS]
    assert [n for n, _ in found.per_document] == pytest.approx(wanted, rel=1e-5)
    assert [b for _, b in found.per_document] == [len(t.encode()) for t in TEXTS]
    assert found.value == pytest.approx(sum(wanted) / math.log(2) / sum(len(t.encode()) for t in TEXTS))
    assert found.tokens == sum(len(t.encode()) for t in TEXTS)


def test_batches_and_head_chunks_change_nothing(monkeypatch):
    model = make()
    whole = bits_per_byte(model, Bytes(), TEXTS, window=16, stride=8, progress=open_progress("quiet"))
    monkeypatch.setattr(scoring, "_CHUNK_ELEMENTS", 600)
    monkeypatch.setattr("lamina.model.evaluate.bits_per_byte._BATCH_TOKENS", 20)
    parts = bits_per_byte(model, Bytes(), TEXTS, window=16, stride=8)
    assert parts.value == pytest.approx(whole.value, rel=1e-6)


def test_a_uniform_model_needs_log2_of_the_vocabulary():
    model = make()
    with torch.no_grad():
        model.stack.norm.weight.zero_()
    assert bits_per_byte(model, Bytes(), TEXTS).value == pytest.approx(math.log2(257), rel=1e-6)


def test_the_window_is_at_most_the_context():
    found = bits_per_byte(make(max_positions=24), Bytes(), ["abc" * 40])
    assert found.tokens == 120


def test_no_text_at_all_is_refused():
    with pytest.raises(ConfigError, match="no text"):
        bits_per_byte(make(), Bytes(), ["", ""])


def test_another_head_may_be_swapped_in():
    model = make()
    before = bits_per_byte(model, Bytes(), TEXTS).value

    class Half(torch.nn.Module):
        def __init__(self, weight: torch.Tensor) -> None:
            super().__init__()
            self.register_buffer("stored", weight.detach().half())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.stored.float().T

    model.head = Half(model.stack.embeddings.token.weight)
    assert bits_per_byte(model, Bytes(), TEXTS).value == pytest.approx(before, rel=1e-3)


@given(length=st.integers(1, 60), window=st.integers(1, 20), stride=st.integers(1, 20))
def test_windows_score_every_token_once(length: int, window: int, stride: int):
    stride = min(stride, window)
    ids = list(range(length))
    scored = []
    for passage in windows(ids, 0, window, stride):
        assert len(passage.ids) <= window + 1
        assert passage.start >= 1
        scored += list(passage.ids[passage.start :])
    assert scored == ids[1:]


class TestAnswers:
    def test_equals_the_definition(self):
        model = make()
        pairs = [([1, 2, 3], [4, 5]), ([], [7]), ([9] * 30, [1]), ([8], []), ([5, 6], [7, 8, 9, 10])]
        found = nll_of_completions(model, Bytes(), pairs)
        for value, (prompt, completion) in zip(found, pairs, strict=True):
            given = prompt or [256]
            wanted = 0.0
            if completion:
                with torch.no_grad():
                    logits = model.logits(model(torch.tensor([[*given, *completion]])))[0, len(given) - 1 : -1]
                wanted = torch.nn.functional.cross_entropy(logits, torch.tensor(completion), reduction="sum").item()
            assert value == pytest.approx(wanted, rel=1e-5, abs=1e-6)
        assert nll_of_completion(model, Bytes(), *pairs[0]) == pytest.approx(found[0], rel=1e-5)

    def test_a_long_prompt_loses_its_beginning(self):
        model = make(max_positions=16)
        prompt = list(range(40))
        assert nll_of_completion(model, Bytes(), prompt, [1, 2]) == pytest.approx(
            nll_of_completion(model, Bytes(), prompt[-15:], [1, 2])
        )

    def test_a_completion_beyond_the_context_is_refused(self):
        with pytest.raises(TooLargeError, match="17"):
            nll_of_completion(make(max_positions=16), Bytes(), [1], [2] * 17)
