"""Training a tokenizer on a corpus: BPE, WordPiece or Unigram, as a folder that ``transformers`` opens.

Running one is ``kit.tokenizer``'s; ``tokenizer.json`` is the format of all three. The same corpus and settings give the
same bytes. What is learned from is a sample of ``sample`` characters, made smaller where its different words have over
``words.DISTINCT`` bytes together: what is kept in memory follows from these two, not from the corpus' size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from lamina.data.tokenizer.sample import CHARACTERS, DOCUMENT, draw
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.progress import Progress, open_progress

Use = Literal["bpe", "wordpiece", "unigram"]


def train_tokenizer(
    corpus: Path,
    staging: Path,
    *,
    use: Use = "bpe",
    vocabulary: int = 8192,
    lowercase: bool | None = None,
    sentinels: int = 0,
    mask: bool = False,
    sample: int = CHARACTERS,
    document: int = DOCUMENT,
    temperature: float = 1.0,
    progress: Progress | None = None,
) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json into ``staging``.

    Learns from the training split, augmented children left out: ``sample`` characters, of each document the first
    ``document``, of each source its share by ``temperature`` (see ``sample.draw``). ``vocabulary`` is the number of all
    ids.

    - "bpe": byte-level (Sennrich et al. 2016; Radford et al. 2019), ChatML; any text comes back. Also writes
      ranks.tiktoken and tiktoken.json. ``mask``: with a token for what is hidden, and texts framed, for encoders.
    - "wordpiece": BERT's, with ``lowercase`` (default: true; accents go too) or cased; loses what BERT's loses: case,
      accents, white space, control characters, and as [UNK] words with unknown characters or more than 100 of them.
    - "unigram": (Kudo 2018) in SentencePiece's alphabet with byte fallback, T5's special tokens and ChatML; any text
      comes back. ``sentinels``: how many <extra_id_n> at the end, for span corruption.

    Raises ``ConfigError`` for settings that cannot be, ``InputError`` for a corpus without text.
    """
    if use not in get_args(Use):
        raise ConfigError(f"there is no tokenizer '{use}'", where="data.tokenizer.use", hint=", ".join(get_args(Use)))
    if lowercase is not None and use != "wordpiece":
        raise ConfigError("is of 'wordpiece' only", where="data.tokenizer.lowercase")
    if sentinels < 0 or (sentinels and use != "unigram"):
        raise ConfigError("is of 'unigram' only, 0 or more", where="data.tokenizer.sentinels")
    if mask and use != "bpe":
        raise ConfigError("is of 'bpe' only: WordPiece has a mask anyway", where="data.tokenizer.mask")
    shown = progress or open_progress("quiet")
    files = sorted((corpus / "data").glob("train-*.parquet"))
    drawn = draw(files, characters=sample, document=document, temperature=temperature)
    if not drawn.total:
        raise InputError("the corpus has no document to learn from", where=str(corpus))
    shown.say(f"tokenizer: learns from {drawn.total:,} of {sum(drawn.of.values()):,} characters")
    staging.mkdir(parents=True, exist_ok=True)
    if use == "bpe":
        from lamina.data.tokenizer.bpe import train_bpe

        train_bpe(drawn, staging, vocabulary=vocabulary, mask=mask, progress=shown)
    elif use == "wordpiece":
        from lamina.data.tokenizer.wordpiece import train_wordpiece

        train_wordpiece(drawn, staging, vocabulary=vocabulary, lowercase=lowercase is not False, progress=shown)
    else:
        from lamina.data.tokenizer.unigram import train_unigram

        train_unigram(drawn, staging, vocabulary=vocabulary, sentinels=sentinels, progress=shown)
