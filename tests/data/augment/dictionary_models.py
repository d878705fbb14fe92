"""Models of CTranslate2 that are small enough to be written down.

Each is a dictionary in the form of a Transformer: its decoder looks, at every place, at the word that stands in the
same place of the source, and says one of its translations with the probability that the dictionary gives it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

Table = Mapping[str, Mapping[str, float]]
SPECIAL = ("<unk>", "<s>", "</s>")
ONE = ("the la", "The La", "keeper guardián", "of de", "saw vio", "near cerca", "from desde", "was era", "and y")
SPANISH: Table = {
    **{a: {b: 1.0} for a, b in (pair.split() for pair in (*ONE, ". ."))},
    "big": {"grande": 0.7, "enorme": 0.3},
    "ship": {"barco": 0.6, "buque": 0.4},
    "old": {"viejo": 0.6, "antiguo": 0.4},
    "harbour": {"puerto": 1.0},
    "lighthouse": {"faro": 1.0},
    "quiet": {"tranquilo": 0.5, "callado": 0.5},
}
ENGLISH: Table = {
    **{b: {a: 1.0} for a, b in (pair.split() for pair in (*ONE, ". ."))},
    **{"grande": {"big": 0.5, "large": 0.5}, "enorme": {"huge": 1.0}, "faro": {"lighthouse": 1.0}},
    **{"barco": {"ship": 0.5, "boat": 0.5}, "buque": {"vessel": 1.0}, "puerto": {"harbour": 0.4, "port": 0.6}},
    **{"viejo": {"old": 0.6, "aged": 0.4}, "antiguo": {"ancient": 1.0}},
    **{"tranquilo": {"quiet": 0.5, "calm": 0.5}, "callado": {"silent": 1.0}},
}


def write_model(folder: Path, table: Table, *, places: int = 64, **config: Any) -> list[str]:
    """A model of CTranslate2; the words of its source."""
    from ctranslate2.specs import TransformerSpec

    sources = [*SPECIAL, *table]
    targets = [*SPECIAL, *dict.fromkeys(word for said in table.values() for word in said if word not in SPECIAL)]
    # What stands in a vector: the word, then its place, then the logarithm of what may be said.
    place, said = max(len(sources), len(targets)), max(len(sources), len(targets)) + places
    width = said + len(targets)
    spec = TransformerSpec.from_config((1, 1), 1, no_final_norm=True)
    where = np.zeros((places, width), np.float32)
    where[range(places), range(place, said)] = 1
    for side, embeddings, count in (
        (spec.encoder, spec.encoder.embeddings[0], len(sources)),
        (spec.decoder, spec.decoder.embeddings, len(targets)),
    ):
        embeddings.weight = np.eye(count, width, dtype=np.float32)
        side.scale_embeddings = False
        side.position_encodings.encodings = where
        layer = side.layer[0]
        for part, shapes in ((layer.self_attention, (3 * width, width)), (layer.ffn, (8, 8))):
            norm(part.layer_norm, width)
            first, second = part.linear if part is layer.self_attention else (part.linear_0, part.linear_1)
            linear(first, np.zeros((shapes[0], width)))
            linear(second, np.zeros((width, shapes[1])))
    here = np.zeros((width, width))
    here[range(place, said), range(place, said)] = 1
    word = np.diag(np.arange(width) < len(sources)).astype(float)
    spoken = np.zeros((width, width))
    spoken[said:, : len(sources)] = -50
    for number, source in enumerate(sources):
        for target, probability in table.get(source, {source: 1.0}).items():
            spoken[said + targets.index(target), number] = math.log(probability)
    look = spec.decoder.layer[0].attention
    norm(look.layer_norm, width)
    for part, weight in zip(look.linear, (400 * here, np.vstack([here, word]), spoken), strict=True):
        linear(part, weight)
    linear(spec.decoder.projection, np.eye(width)[said:])
    spec.register_source_vocabulary(sources)
    spec.register_target_vocabulary(targets)
    for name, value in config.items():
        setattr(spec.config, name, value)
    spec.validate()
    folder.mkdir(parents=True)
    spec.save(str(folder))
    return [*dict.fromkeys([*sources, *targets])]


def linear(part: Any, weight: np.ndarray) -> None:
    part.weight, part.bias = weight.astype(np.float32), np.zeros(len(weight), np.float32)


def norm(part: Any, width: int) -> None:
    part.gamma, part.beta = np.ones(width, np.float32), np.zeros(width, np.float32)


def write_tokenizer(folder: Path, words: list[str]) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))


def write_pair(folder: Path) -> Path:
    """English to Spanish and back, with synonyms on the way."""
    for pair, table in (("en-es", SPANISH), ("es-en", ENGLISH)):
        write_tokenizer(folder / pair, write_model(folder / pair, table))
    return folder
