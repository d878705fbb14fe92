"""The tokenizer of a model folder as the metadata of a GGUF file: tokens, their types, merges, special ids, template.

llama.cpp knows pre-tokenizers by name only: one that is none of those cannot be written.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lamina.kit.errors import ModelFileError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.kit.tokenizer_chunks import PATTERN_BYTES
from lamina.model.gguf.pieces import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    has_pieces,
    scores_of,
    space_prefix,
)
from lamina.model.gguf.tokenizer import pre_tokenizers_by_name

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def write_vocabulary(writer: Any, folder: Path, *, size: int) -> None:
    """Add the tokenizer in ``folder`` to a ``gguf.GGUFWriter``; ids up to ``size`` that are no token are marked so."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelFileError("there is no tokenizer.json: llama.cpp needs a tokenizer in the file", where=str(folder))
    parsed: dict[str, Any] = json.loads(path.read_bytes())
    model = parsed["model"]
    tokens, types = _tokens(parsed, size)
    if has_pieces(parsed):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(scores_of(parsed, tokens, str(path)))
        writer.add_add_space_prefix(space_prefix(parsed))
    elif model.get("type") != "BPE" or model.get("byte_fallback"):
        raise ModelFileError(
            f"a tokenizer of the type {model.get('type')} cannot be written", where=str(path), hint="BPE can"
        )
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_pre_name(parsed, str(path)))
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    tokenizer = open_tokenizer(folder)
    _special(writer, tokenizer)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _tokens(parsed: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    model = parsed["model"]
    tokens = [f"[PAD{n}]" for n in range(size)]
    types = [UNUSED] * size
    for token, number in model["vocab"].items():
        byte = model.get("byte_fallback") and _BYTE.fullmatch(token)
        tokens[number], types[number] = token, BYTE if byte else NORMAL
    for added in parsed.get("added_tokens") or []:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added.get("special") else USER_DEFINED
    if has_pieces(parsed) and model.get("unk_token") is not None:
        types[model["vocab"][model["unk_token"]]] = UNKNOWN
    return tokens, types


def _pre_name(parsed: dict[str, Any], where: str) -> str:
    """llama.cpp's name of the pre-tokenizer."""
    given = parsed.get("pre_tokenizer")
    for name, known in pre_tokenizers_by_name().items():
        if given == known:
            return name
    parts = (given or {}).get("pretokenizers") or []
    if any(part.get("pattern", {}).get("Regex") == PATTERN_BYTES for part in parts):
        return "smollm"  # digits one by one, then GPT-2's pattern: the same cuts
    raise ModelFileError(
        "llama.cpp has no name for this pre-tokenizer",
        where=where,
        hint="known: those of GPT-2, SmolLM, Llama 3 and Qwen 2, and what [data.tokenizer] use = 'bpe' trains",
    )


def _special(writer: Any, tokenizer: ModelTokenizer) -> None:
    ends, turn = tokenizer.end_ids, tokenizer.turn_end_id
    named = tokenizer.special_id("eos_token")
    bos, pad, unknown = tokenizer.bos_id, tokenizer.special_id("pad_token"), tokenizer.unk_id
    if bos is not None:
        writer.add_bos_token_id(bos)
    if named is not None or ends:
        writer.add_eos_token_id(ends[0] if named is None else named)
    if turn is not None:
        writer.add_eot_token_id(turn)
    if pad is not None:
        writer.add_pad_token_id(pad)
    if unknown is not None:
        writer.add_unk_token_id(unknown)
    writer.add_add_bos_token(bos is not None and tokenizer.frame.around(()).ids[:1] == [bos])
