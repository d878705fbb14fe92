"""The tokenizer inside a GGUF file, as ``tokenizer.json`` and ``tokenizer_config.json``.

A GGUF file holds tokens, merges and token types, but of the pre-tokenizer only a name; what the names mean is written
down here, as the original tokenizers have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from lamina.kit.errors import ModelFileError
from lamina.model.gguf.pieces import CONTROL, UNKNOWN, USER_DEFINED, pieces_tokenizer

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _digits() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _llama3() -> Any:
    split = pre_tokenizers.Split(Regex(_LLAMA3), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _qwen2() -> Any:
    split = pre_tokenizers.Split(Regex(_QWEN2), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


_PRE_TOKENIZERS: dict[str, Callable[[], Any]] = {
    "gpt-2": _gpt2,
    "default": _gpt2,
    "smollm": _digits,
    "starcoder": _digits,
    "llama-bpe": _llama3,
    "llama3": _llama3,
    "qwen2": _qwen2,
}


def pre_tokenizers_by_name() -> dict[str, dict[str, Any]]:
    """What stands in a ``tokenizer.json`` for each name of a pre-tokenizer."""
    found = {}
    for name, make in _PRE_TOKENIZERS.items():
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = make()
        found[name] = json.loads(backend.to_str())["pre_tokenizer"]
    return found


def write_tokenizer(fields: dict[str, Any], folder: Path, where: str) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` (with the chat template) from the file's metadata."""
    tokens, types = _vocabulary(fields, where)
    tokenizer = _build(fields, tokens, where)
    control = [t for t, kind in zip(tokens, types, strict=True) if kind in (UNKNOWN, CONTROL)]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    user = [t for t, kind in zip(tokens, types, strict=True) if kind == USER_DEFINED]
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in user])
    if tokenizer.get_vocab_size() != len(tokens):
        raise ModelFileError("the vocabulary holds a token twice", where=where)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = _config(fields, tokens, where)
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def special_ids(fields: dict[str, Any]) -> dict[str, Any]:
    """``bos_token_id``, ``eos_token_id`` (a list where there are several) and ``pad_token_id``, where known."""
    ids = {name: fields.get(f"tokenizer.ggml.{key}_token_id") for name, key in _SPECIAL.items()}
    ends = [fields.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    ends = list(dict.fromkeys(end for end in ends if end is not None))
    found = {f"{name}_id": ids[name] for name in ("bos_token", "pad_token") if ids[name] is not None}
    return found | ({"eos_token_id": ends[0] if len(ends) == 1 else ends} if ends else {})


_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def _vocabulary(fields: dict[str, Any], where: str) -> tuple[list[str], list[int]]:
    model = fields.get("tokenizer.ggml.model")
    if model not in ("gpt2", "llama"):
        raise ModelFileError(
            f"the tokenizer type {model!r} is not supported",
            where=where,
            hint="supported: gpt2 (byte-level BPE), llama (SentencePiece's BPE)",
        )
    tokens = fields.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(t, str) for t in tokens):
        raise ModelFileError("tokenizer.ggml.tokens is missing or not a list of strings", where=where)
    types = fields.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    if len(types) != len(tokens):
        raise ModelFileError(f"{len(types)} token types for {len(tokens)} tokens", where=where)
    return tokens, types


def _build(fields: dict[str, Any], tokens: list[str], where: str) -> Tokenizer:
    try:
        if fields.get("tokenizer.ggml.model") == "llama":
            tokenizer = pieces_tokenizer(fields, tokens, where)
        else:
            tokenizer = _byte_level(fields, tokens, where)
    except ModelFileError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ModelFileError(f"the vocabulary and its merges do not fit: {error}", where=where) from error
    bos = fields.get("tokenizer.ggml.bos_token_id")
    # a file without the key: llama.cpp begins texts of pieces, and no others
    begins = fields.get("tokenizer.ggml.add_bos_token", fields.get("tokenizer.ggml.model") == "llama")
    if begins and bos is not None:
        start = tokens[bos]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", pair=f"{start} $A {start} $B:1", special_tokens=[(start, bos)]
        )
    return tokenizer


def _byte_level(fields: dict[str, Any], tokens: list[str], where: str) -> Tokenizer:
    name = fields.get("tokenizer.ggml.pre", "default")
    if name not in _PRE_TOKENIZERS:
        known = ", ".join(_PRE_TOKENIZERS)
        raise ModelFileError(f"the pre-tokenizer {name!r} is not known", where=where, hint=f"known: {known}")
    merges = [tuple(merge.split(" ", 1)) for merge in fields.get("tokenizer.ggml.merges") or []]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    ignore_merges = _PRE_TOKENIZERS[name] is _llama3
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[name]()
    if _PRE_TOKENIZERS[name] is _qwen2:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _config(fields: dict[str, Any], tokens: list[str], where: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": bool(fields.get("tokenizer.ggml.add_bos_token", False)),
    }
    architecture = fields.get("general.architecture")
    if length := fields.get(f"{architecture}.context_length"):
        config["model_max_length"] = length
    for name, key in _SPECIAL.items():
        id = fields.get(f"tokenizer.ggml.{key}_token_id")
        if id is not None and not (isinstance(id, int) and 0 <= id < len(tokens)):
            raise ModelFileError(f"tokenizer.ggml.{key}_token_id is {id!r}, outside the vocabulary", where=where)
        if id is not None:
            config[name] = tokens[id]
    if template := fields.get("tokenizer.chat_template"):
        config["chat_template"] = template
    return config
