"""Training a tokenizer on a corpus: byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) with a ChatML template.

Running one is ``kit.tokenizer``'s; the folder written here is what it opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from lamina.data.parts import read_parts, rows_of
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress

END, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DOCUMENT_CHARS = 10_000  # of one document: a long book must not decide what words are
SAMPLE_CHARS = 100_000_000
_LEAST = 256 + 3  # every byte, and the control tokens


def train_bpe(
    corpus: Path,
    staging: Path,
    *,
    vocabulary: int = 8192,
    sample_chars: int = SAMPLE_CHARS,
    progress: Progress | None = None,
) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json into ``staging``.

    Learns from the training split: up to ``sample_chars`` characters, of each source its share, of each document the
    first ``DOCUMENT_CHARS``. Raises ``ConfigError`` for a vocabulary that cannot hold the bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocabulary < _LEAST:
        raise ConfigError(f"{vocabulary} is less than {_LEAST}: bytes and controls", where="data.tokenizer.vocabulary")
    backend = Tokenizer(models.BPE())
    # Digits one by one: numbers of a kind then look alike.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    files = sorted((corpus / "data").glob("train-*.parquet"))
    if not rows_of(files):
        raise InputError("the corpus has no document to learn from", where=str(corpus))
    backend.train_from_iterator(_sample(files, sample_chars, progress), trainer)
    staging.mkdir(parents=True, exist_ok=True)
    (staging / "tokenizer.json").write_text(backend.to_str(), encoding="utf-8")
    roles = {"bos_token": END, "eos_token": TURN_END, "pad_token": END}
    config = roles | {
        "chat_template": CHATML,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for name, content in (("tokenizer_config.json", config), ("special_tokens_map.json", roles)):
        (staging / name).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _sample(files: list[Path], limit: int, progress: Progress | None) -> Iterator[list[str]]:
    """Batches of texts, every source with the same share of its characters."""
    import polars as pl

    texts = pl.scan_parquet(files).select(characters=pl.col("text").str.len_chars().clip(0, DOCUMENT_CHARS))
    total = texts.select(pl.col("characters").cast(pl.Int64).sum()).collect().item() or 0
    share = min(1.0, limit / total) if total else 1.0
    for batch in read_parts(files, ["id", "text"]):
        rows = zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
        # The same share of every source by the hash of its documents: no order, no chance.
        kept = [text[:DOCUMENT_CHARS] for id, text in rows if text and _draw(id) < share]
        yield kept
    if progress is not None:
        progress.say(f"tokenizer: learned from {min(total, limit):,} characters")


def _draw(id: str) -> float:
    return int(blake3_hex("tokenizer", id)[:13], 16) / 16**13
