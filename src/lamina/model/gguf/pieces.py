"""SentencePiece's BPE (Kudo and Richardson 2018, arXiv 1808.06226) in GGUF files: pieces with scores, and no merges.

llama.cpp joins the two neighbours whose piece has the highest score; the ``tokenizers`` library joins the pair that
stands first among its merges. So the merges follow from the scores, and the scores from the order of the merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from lamina.kit.errors import ModelFileError

SPACE = "▁"
#: Types of tokens.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def pieces_tokenizer(fields: Mapping[str, Any], tokens: Sequence[str], where: str) -> Tokenizer:
    """The tokenizer of a file whose ``tokenizer.ggml.model`` is "llama"; its special tokens are still to be added."""
    scores = fields.get("tokenizer.ggml.scores")
    types = fields.get("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise ModelFileError("tokenizer.ggml.scores is missing, or not one for each token", where=where)
    unknown = next((token for token, kind in zip(tokens, types, strict=True) if kind == UNKNOWN), None)
    normal = {token for token, kind in zip(tokens, types, strict=True) if kind in (NORMAL, UNUSED)}
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(vocabulary, normal, scores),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=BYTE in types,
        )
    )
    steps: list[Any] = [normalizers.Replace(" ", SPACE)]
    backward: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if fields.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, normalizers.Prepend(SPACE))
        backward.append(decoders.Strip(" ", 1, 0))
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.normalizer = normalizers.Sequence(steps) if len(steps) > 1 else steps[0]
    tokenizer.decoder = decoders.Sequence(backward)
    return tokenizer


def _merges(vocabulary: Mapping[str, int], normal: set[str], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, the highest score first."""
    found: list[tuple[float, int, int, str, str]] = []
    for piece in normal:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in normal and right in normal:
                found.append((-scores[vocabulary[piece]], vocabulary[left], vocabulary[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def has_pieces(parsed: Mapping[str, Any]) -> bool:
    """Whether a ``tokenizer.json`` is of this kind: BPE over pieces that have "▁" for a space."""
    model, normalizer = parsed["model"], parsed.get("normalizer") or {}
    steps = normalizer.get("normalizers") or [normalizer]
    return model.get("type") == "BPE" and any(step.get("content") == SPACE for step in steps)


def scores_of(parsed: Mapping[str, Any], tokens: Sequence[str], where: str) -> list[float]:
    """A score for each token, by which llama.cpp joins as the merges of ``parsed`` do.

    Raises ``ModelFileError`` where it would not: merges of one piece stand apart, with those of others between them.
    """
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ", 1)) for m in parsed["model"]["merges"]]
    order: dict[str, int] = {}
    last = None
    for left, right in merges:
        piece = left + right
        if piece != last and piece in order:
            raise ModelFileError(f"the merges of the piece {piece!r} stand apart: no scores say that", where=where)
        order.setdefault(piece, len(order))
        last = piece
    return [-float(order.get(token, len(order))) for token in tokens]


def space_prefix(parsed: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text."""
    normalizer = parsed.get("normalizer") or {}
    return any(step.get("type") == "Prepend" for step in normalizer.get("normalizers") or [normalizer])
