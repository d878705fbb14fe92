"""The tokenizer of a model folder as the metadata of a GGUF file: tokens, their types, merges, special ids, template.

llama.cpp knows pre-tokenizers by name only: one that is none of those cannot be written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lamina.kit.errors import ModelFileError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.kit.tokenizer_chunks import PATTERN_BYTES
from lamina.model.gguf.tokenizer import pre_tokenizers_by_name

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # token types


def write_vocabulary(writer: Any, folder: Path, *, size: int) -> None:
    """Add the tokenizer in ``folder`` to a ``gguf.GGUFWriter``; ids up to ``size`` that are no token are marked so."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelFileError("there is no tokenizer.json: llama.cpp needs a tokenizer in the file", where=str(folder))
    parsed: dict[str, Any] = json.loads(path.read_bytes())
    model = parsed["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise ModelFileError(
            f"a tokenizer of the type {model.get('type')} cannot be written", where=str(path), hint="byte-level BPE can"
        )
    tokens, types = _tokens(parsed, size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_name(parsed, str(path)))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    tokenizer = open_tokenizer(folder)
    _special(writer, tokenizer)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _tokens(parsed: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    tokens = [f"[PAD{n}]" for n in range(size)]
    types = [_UNUSED] * size
    for token, number in parsed["model"]["vocab"].items():
        tokens[number], types[number] = token, _NORMAL
    for added in parsed.get("added_tokens") or []:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = _CONTROL if added.get("special") else _USER_DEFINED
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
        hint="known: those of GPT-2, SmolLM and Llama 3, and what [data.tokenizer] use = 'bpe' trains",
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
