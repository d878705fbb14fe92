"""What the three kinds of tokenizer share: special tokens, and the files of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lamina.data.tokenizer.sample import Sample
from lamina.kit.errors import ConfigError
from lamina.kit.progress import Progress

#: Special tokens: the end of a document; the edges of a turn in a conversation (ChatML).
END, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
HIDDEN = "<|mask|>"  # what stands for a token that is to be guessed
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: BERT's (Devlin et al. 2019), in BERT's order.
BERT = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
#: T5's (Raffel et al. 2020), in T5's order; conversations beside them.
T5 = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def write_folder(staging: Path, backend: str, roles: Mapping[str, str], **config: Any) -> None:
    """The three files; ``backend`` is the content of tokenizer.json, ``config`` goes into tokenizer_config.json."""
    (staging / "tokenizer.json").write_text(backend, encoding="utf-8")
    common = {"clean_up_tokenization_spaces": False, "tokenizer_class": "PreTrainedTokenizerFast"}
    for name, content in (
        ("tokenizer_config.json", {**roles, **common, **config}),
        ("special_tokens_map.json", dict(roles)),
    ):
        (staging / name).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def at_least(vocabulary: int, least: int, what: str) -> None:
    """Refuse a vocabulary without room for ``what``."""
    if vocabulary < least:
        raise ConfigError(f"{vocabulary} is less than {least}: {what}", where="data.tokenizer.vocabulary")


def read(sample: Sample, progress: Progress) -> Iterator[list[str]]:
    """The sample's texts, counted on a bar."""
    with progress.task("tokenizer: read", total=sample.total, unit="characters") as task:
        for texts in sample:
            some = texts.to_pylist()
            yield some
            task.advance(sum(map(len, some)))
