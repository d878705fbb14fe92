"""What the tests of the model share: tiny random checkpoints written by `transformers`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

LLAMA: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": True,
}
NO_TOKENS = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
GPT2: dict[str, Any] = {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
BERT: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
T5: dict[str, Any] = {"vocab_size": 97, "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_heads": 4}
T5 |= {"num_decoder_layers": 3, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20}
T5 |= {"decoder_start_token_id": 0, "initializer_factor": 0.3}
MARIAN: dict[str, Any] = {
    "vocab_size": 97,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 64,
    "pad_token_id": 96,
    "decoder_start_token_id": 96,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "activation_function": "swish",
    "scale_embedding": True,
}
GEMMA = {k: v for k, v in LLAMA.items() if k != "rope_parameters"} | {"head_dim": 16, "query_pre_attn_scalar": 24}
GEMMA |= {"sliding_window": 5, "num_hidden_layers": 3, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]}
SMOLLM3 = LLAMA | NO_TOKENS | {"num_hidden_layers": 4}

#: Name of a variant -> (configuration class, model class, parameters).
DECODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama-tied": ("LlamaConfig", "LlamaForCausalLM", LLAMA),
    "llama-untied": ("LlamaConfig", "LlamaForCausalLM", LLAMA | {"tie_word_embeddings": False}),
    "llama-mha": ("LlamaConfig", "LlamaForCausalLM", LLAMA | {"num_key_value_heads": 4}),
    "llama-mqa": ("LlamaConfig", "LlamaForCausalLM", LLAMA | {"num_key_value_heads": 1}),
    "llama-bias": (
        "LlamaConfig",
        "LlamaForCausalLM",
        LLAMA | {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"},
    ),
    "llama-head-dim": ("LlamaConfig", "LlamaForCausalLM", LLAMA | {"head_dim": 16}),
    "llama-linear": (
        "LlamaConfig",
        "LlamaForCausalLM",
        LLAMA | {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}},
    ),
    "llama-llama3": (
        "LlamaConfig",
        "LlamaForCausalLM",
        LLAMA
        | {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2),
    "gpt2-untied": (
        "GPT2Config",
        "GPT2LMHeadModel",
        GPT2 | {"tie_word_embeddings": False, "n_inner": 40, "activation_function": "relu"},
    ),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", LLAMA),
    "qwen2-window": (
        "Qwen2Config",
        "Qwen2ForCausalLM",
        LLAMA | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1, "tie_word_embeddings": False},
    ),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", LLAMA | {"head_dim": 24}),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", SMOLLM3),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", GEMMA),
}
ENCODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert-bare": ("BertConfig", "BertModel", BERT),
    "bert-mlm": ("BertConfig", "BertForMaskedLM", BERT),
    "bert-pretraining": ("BertConfig", "BertForPreTraining", BERT | {"hidden_act": "relu"}),
    "bert-classify": ("BertConfig", "BertForSequenceClassification", BERT | {"num_labels": 3}),
    "bert-tag": ("BertConfig", "BertForTokenClassification", BERT | {"num_labels": 5}),
}
SEQ2SEQ: dict[str, tuple[str, str, dict[str, Any]]] = {
    "t5": ("T5Config", "T5ForConditionalGeneration", T5),
    "t5-v1.1": (
        "T5Config",
        "T5ForConditionalGeneration",
        T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "marian": ("MarianConfig", "MarianMTModel", MARIAN),
    "marian-two-tables": (
        "MarianConfig",
        "MarianMTModel",
        MARIAN | {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 90, "scale_embedding": False}
        | {"pad_token_id": 89, "decoder_start_token_id": 89, "activation_function": "relu"},
    ),
}  # fmt: skip
VARIANTS = DECODERS | ENCODERS | SEQ2SEQ


def write_checkpoint(folder: Path, variant: str) -> Any:
    """A random checkpoint of this variant, as `transformers` writes it; returns the reference model."""
    import transformers

    config, kind, parameters = VARIANTS[variant]
    torch.manual_seed(7)
    model = getattr(transformers, kind)(getattr(transformers, config)(**parameters)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # fresh norms and biases are ones and zeros, which would hide mistakes
            if parameter.requires_grad:  # Marian's places do not want it
                parameter.add_(torch.randn_like(parameter) * 0.05)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.add_(torch.randn_like(model.final_logits_bias))
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Variant name -> (folder, reference model), each written once."""
    made: dict[str, tuple[Path, Any]] = {}

    def get(variant: str) -> tuple[Path, Any]:
        if variant not in made:
            folder = tmp_path_factory.mktemp(variant)
            made[variant] = (folder, write_checkpoint(folder, variant))
        return made[variant]

    return get


@pytest.fixture(params=sorted(DECODERS))
def variant(request: pytest.FixtureRequest) -> str:
    """A causal decoder."""
    return str(request.param)


@pytest.fixture(params=sorted(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> str:
    """An encoder alone."""
    return str(request.param)


@pytest.fixture(params=sorted(SEQ2SEQ))
def seq2seq(request: pytest.FixtureRequest) -> str:
    """An encoder with a decoder."""
    return str(request.param)


@pytest.fixture(params=sorted(VARIANTS))
def any_variant(request: pytest.FixtureRequest) -> str:
    """A model of any kind."""
    return str(request.param)
