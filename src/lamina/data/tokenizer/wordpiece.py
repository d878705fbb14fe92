"""WordPiece as in BERT (Devlin et al. 2019): words in pieces, "##" before all but a word's first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from lamina.data.tokenizer.folder import BERT, at_least, read, write_folder
from lamina.data.tokenizer.sample import Sample
from lamina.data.tokenizer.words import DISTINCT, count_characters, count_words
from lamina.kit.progress import Progress
from lamina.kit.tokenizer_chunks import SPACES

ALPHABET = 1000  # characters that have tokens, at most; of others whole words become [UNK]
_CONTINUES = "##"


def train_wordpiece(sample: Sample, staging: Path, *, vocabulary: int, lowercase: bool, progress: Progress) -> None:
    """See ``train.train_tokenizer``."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    controls = list(BERT.values())
    at_least(vocabulary, len(controls) + 256, "control tokens and an alphabet")
    sample, words = count_words(sample, SPACES, most=DISTINCT, progress=progress)
    backend: Any = Tokenizer(models.WordPiece(unk_token=BERT["unk_token"], max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix=_CONTINUES)
    inside, alone = alphabet(count_characters(words), backend, min(ALPHABET, (vocabulary - len(controls)) // 4))
    # The trainer numbers "##" pieces of characters in the order of a hash table, another one each time: named here as
    # special tokens they have an order. They are no special tokens afterwards.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=[*controls, *(_CONTINUES + c for c in inside)],
        initial_alphabet=[*inside, *alone],
        limit_alphabet=len(inside) + len(alone),
        show_progress=False,
    )
    backend.train_from_iterator(read(sample, progress), trainer)
    ids = {token: backend.token_to_id(token) for token in controls}
    backend.post_processor = processors.BertProcessing(*((t, ids[t]) for t in (BERT["sep_token"], BERT["cls_token"])))
    parsed = orjson.loads(backend.to_str())
    parsed["added_tokens"] = [token for token in parsed["added_tokens"] if token["content"] in ids]
    write_folder(staging, orjson.dumps(parsed, option=orjson.OPT_INDENT_2).decode(), BERT, do_lower_case=lowercase)
    vocab = sorted(parsed["model"]["vocab"], key=parsed["model"]["vocab"].__getitem__)
    (staging / "vocab.txt").write_text("".join(f"{token}\n" for token in vocab), encoding="utf-8")


def alphabet(counts: NDArray[np.int64], backend: Any, most: int) -> tuple[list[str], list[str]]:
    """The commonest characters after normalising, at most ``most``: those inside words, and those that stand alone
    (punctuation, Chinese characters). ``counts``: of each code point (0x110000,)."""
    found: dict[str, int] = {}
    for point in np.flatnonzero(counts).tolist():
        for c in backend.normalizer.normalize_str(chr(point)).strip():  # it works character by character
            found[c] = found.get(c, 0) + int(counts[point])
    kept = sorted(sorted(found, key=lambda c: (-found[c], c))[:most])
    stands = [len(backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(f"a{c}a"))) > 1 for c in kept]
    return [c for c, s in zip(kept, stands, strict=True) if not s], [c for c, s in zip(kept, stands, strict=True) if s]
