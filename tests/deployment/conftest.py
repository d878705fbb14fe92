"""Tiny random models and a tokenizer whose tokens are one or two characters, for every test of this layer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import openai
import pytest
import torch

from lamina.contracts.chat import Message
from lamina.contracts.tokens import Rendered
from lamina.deployment.compress.quantize import save_served
from lamina.deployment.registry import ModelRegistry
from lamina.deployment.service import ServingService
from lamina.interface.api.app import create_app
from lamina.interface.api.ports import ApiSettings, NoKeys
from lamina.interface.api.server import in_thread
from lamina.kit.database import Database
from lamina.model.architectures.gpt import qwen2, qwen3, smollm3
from lamina.model.checkpoint import copy_companions
from lamina.model.spec import (
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    HeadSpec,
    ModelSpec,
    NormSpec,
    RotarySpec,
    StackSpec,
)
from lamina.model.transformer import Transformer
from lamina.testing import stand_ins

_LETTERS = "abcdefghij"
TEXTS = [*"abcdefghijklmnopqrstuvwxyz ", *("".join(p) for p in itertools.product(_LETTERS, _LETTERS[:6])), ""]


class TinyTokenizer:
    """Ids to the texts above; the last one ends an answer."""

    vocabulary = len(TEXTS)
    end_ids = (len(TEXTS) - 1,)

    def encode(self, text: str) -> list[int]:
        return [TEXTS.index(c) for c in text.lower() if c in TEXTS]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(TEXTS[i] for i in ids)

    def render(self, messages: Sequence[Message], *, open_answer: bool = False) -> Rendered:
        ids = [i for m in messages for i in [*self.encode(m.role[0]), *self.encode(m.content), self.end_ids[0]]]
        return Rendered(ids + self.encode("a") * open_answer, [False] * (len(ids) + open_answer))

    def stream(self) -> TinyStream:
        return TinyStream()


class TinyStream:
    def push(self, token_id: int) -> str:
        return TEXTS[token_id]

    def finish(self) -> str:
        return ""


def _llama(vocabulary: int) -> ModelSpec:
    norm = NormSpec(kind="rms", eps=1e-5)
    block = BlockSpec(
        attention=AttentionSpec(heads=4, kv_heads=2, head_dim=16, rotary=RotarySpec()),
        feedforward=FeedForwardSpec(inner=96, activation="silu", gated=True),
        norm=norm,
    )
    return ModelSpec(
        decoder=StackSpec(
            embeddings=EmbeddingSpec(vocabulary=vocabulary, width=64), blocks=(block, block), norm=norm, causal=True
        ),
        head=HeadSpec(tied=True),
        max_positions=160,
    )


def _gpt2(vocabulary: int) -> ModelSpec:
    norm = NormSpec(kind="layer", eps=1e-5)
    block = BlockSpec(
        attention=AttentionSpec(heads=4, kv_heads=4, head_dim=16, bias=True, out_bias=True),
        feedforward=FeedForwardSpec(inner=96, activation="gelu-tanh", bias=True),
        norm=norm,
    )
    return ModelSpec(
        decoder=StackSpec(
            embeddings=EmbeddingSpec(vocabulary=vocabulary, width=64, positions="learned"),
            blocks=(block, block),
            norm=norm,
            causal=True,
        ),
        head=HeadSpec(),
        max_positions=160,
    )


def _smollm3(vocabulary: int) -> ModelSpec:
    return smollm3(_llama(vocabulary), every=2)


def _gemma3(vocabulary: int) -> ModelSpec:
    """Windows far shorter than a prompt in two of three blocks, which turn faster; norms on both sides of each part."""
    llama, norm = _llama(vocabulary), NormSpec(kind="rms", eps=1e-6, offset=True)
    attention = AttentionSpec(heads=4, kv_heads=2, head_dim=16, qk_norm=norm, scale=24.0**-0.5)
    feedforward = FeedForwardSpec(inner=96, activation="gelu-tanh", gated=True)
    turning = ((12, RotarySpec()), (12, RotarySpec()), (None, RotarySpec(theta=1e6)))
    blocks = tuple(
        BlockSpec(
            attention=replace(attention, window=window, rotary=rotary),
            feedforward=feedforward,
            norm=norm,
            placement="sandwich",
        )
        for window, rotary in turning
    )
    embeddings = EmbeddingSpec(vocabulary=vocabulary, width=64, scale=8.0)
    decoder = StackSpec(embeddings=embeddings, blocks=blocks, norm=norm, causal=True)
    return replace(llama, decoder=decoder)


SPECS = {
    "llama": _llama,
    "gpt2": _gpt2,
    "qwen2": lambda vocabulary: qwen2(_llama(vocabulary)),
    "qwen3": lambda vocabulary: qwen3(_llama(vocabulary)),
    "smollm3": _smollm3,
    "gemma3": _gemma3,
}


@pytest.fixture
def tiny_tokenizer() -> TinyTokenizer:
    return TinyTokenizer()


def make_tiny_model(
    family: str = "llama", seed: int = 0, vocabulary: int = len(TEXTS), positions: int = 160
) -> Transformer:
    """Random weights, spread enough that scores differ clearly."""
    torch.manual_seed(seed)
    spec = replace(SPECS[family](vocabulary), max_positions=positions)
    model = Transformer(spec).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.mul_(12.0 if "embeddings" not in name else 10.0)
        elif name.endswith("bias"):
            parameter.normal_(std=0.1)
        elif family == "gemma3":  # norms, whose weights begin as zeros
            parameter.normal_(std=0.3)
    return model


@pytest.fixture
def tiny_model() -> Callable[..., Transformer]:
    """``tiny_model(family="llama", seed=0)``."""
    return make_tiny_model


CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory) -> Path:
    """The files of a byte-level BPE tokenizer with a chat template, as a model folder has them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("tokenizer")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    backend.train_from_iterator(["the whale and the sea and the ship"] * 4, trainer)
    backend.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": CHAT_TEMPLATE}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "temperature": 0.7}))
    return folder


def save_tiny_model(
    folder: Path,
    tokenizer: Path,
    seed: int = 0,
    *,
    quantize: str = "int8",
    positions: int = 160,
    family: str = "llama",
) -> Path:
    """A served ``folder`` with weights of its own and the files of ``tokenizer``."""
    size = len(json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"])
    model = make_tiny_model(family, seed=seed, vocabulary=size + 8, positions=positions)
    save_served(model, folder, like=None, quantize=quantize)  # type: ignore[arg-type]
    copy_companions(tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def save_tiny() -> Callable[..., Path]:
    """``save_tiny(folder, tokenizer, seed, quantize=…, positions=…, family=…)``."""
    return save_tiny_model


@pytest.fixture
def model_folder(tmp_path, tokenizer_folder) -> Callable[..., Path]:
    """``model_folder(seed)``: a served folder (int8 by default) with weights of its own and the tokenizer above."""

    def make(seed: int = 0, *, quantize: str = "int8") -> Path:
        return save_tiny_model(tmp_path / f"served-{quantize}-{seed}", tokenizer_folder, seed, quantize=quantize)

    return make


@pytest.fixture(scope="module")
def chat_template() -> str:
    """Of the model behind ``client``; a module may have its own."""
    return CHAT_TEMPLATE


@pytest.fixture(scope="module")
def client(tmp_path_factory, tokenizer_folder, chat_template) -> Iterator[openai.OpenAI]:
    """OpenAI's client, and a server with a tiny model behind it, one for a module."""
    folder = tmp_path_factory.mktemp("served")
    with Database.open(folder / "lamina.db") as database, ExitStack() as stays:
        registry = ModelRegistry(database, folder / "models")
        save_tiny_model(folder / "v1", tokenizer_folder, quantize="none", positions=2048)
        (folder / "v1" / "chat_template.jinja").write_text(chat_template)
        registry.add(folder / "v1", role="documents")
        registry.promote("v1", because="first")
        service = ServingService(registry, cache_mb=4, max_sequences=4)
        stays.callback(service.close)
        app = create_app(
            **stand_ins(
                service=service,
                releases=registry,
                keys=NoKeys(),
                settings=ApiSettings(name="pequod", grounding="weights only"),
            )
        )
        url = stays.enter_context(in_thread(app))
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)
