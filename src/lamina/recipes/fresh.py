"""Fresh models: the weights of a preset, and an embedding layer that begins as word vectors.

The vectors are learned from the stack's own corpus, on the tokenizer's own tokens, so that every row of the table has
its vector; or they come from a file, and tokens that are no word of it take the mean of the words they stand in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit.durable import atomic_write
from lamina.kit.errors import InputError
from lamina.kit.progress import Progress
from lamina.kit.spawn import imports
from lamina.kit.stages import Stage
from lamina.recipes.sizing import spec_of
from lamina.recipes.stack import EmbeddingSection, ModelSection

if TYPE_CHECKING:
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.transformer import Transformer
    from lamina.model.vectors.keyed_vectors import KeyedVectors

FILE = "vectors.bin"
_STD = 0.02  # of a fresh embedding table


def vectors_stage(section: EmbeddingSection, *, tokens: Path, tokenizer: Path, context: Path, seed: int) -> Stage:
    """The stage that makes the vectors of ``[model.embedding]``; ``context``: the folder that a file's path is in."""
    learned = section.learned
    return Stage(
        name="vectors",
        shelf="vectors",
        function="lamina.recipes.fresh:make_vectors",
        parameters={"init": section.init, "epochs": section.epochs if learned else None, "seed": seed},
        inputs={"tokens": tokens, "tokenizer": tokenizer} if learned else {},
        versions={"vectors": 1},
        context={"folder": str(context)},
    )


def fresh_stage(
    model: ModelSection,
    *,
    tokenizer: Path,
    vectors: Path | None,
    objective: str,
    seed: int,
    sizing: Path | None = None,
) -> Stage:
    """The stage that makes a fresh model of the stack's preset, or of the size chosen in ``sizing``, as a Hugging Face
    folder."""
    inputs = {"tokenizer": tokenizer, "vectors": vectors, "sizing": sizing}
    return Stage(
        name="base",
        shelf="bases",
        function="lamina.recipes.fresh:fresh_model",
        parameters={
            "architecture": model.architecture,
            "preset": model.preset,
            "seed": seed,
            **({"next_sentence": True} if objective == "next-sentence" else {}),
        },
        inputs={name: path for name, path in inputs.items() if path is not None},
        versions={"fresh": 2},
    )


@imports("lamina.model.vectors.glove", "lamina.model.vectors.word2vec")
def make_vectors(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """``vectors.bin`` in word2vec's binary format."""
    from lamina.model.vectors.vector_files import read_vectors, write_vectors

    if "tokens" not in inputs:
        path = Path(parameters["context"]["folder"]) / parameters["init"]
        if not path.is_file():
            raise InputError("there is no such file of vectors", where=str(path), hint='or init = "word2vec", "glove"')
        write_vectors(read_vectors(path), staging / FILE)
        return
    write_vectors(_learned(parameters, inputs, work, progress), staging / FILE)


def _learned(parameters: dict[str, Any], inputs: Mapping[str, Path], work: Path, progress: Progress) -> KeyedVectors:
    from lamina.data.shards import Shards
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.vectors.glove import GloveParameters, train_glove
    from lamina.model.vectors.vocabulary import read_ids
    from lamina.model.vectors.word2vec import Word2VecParameters, train_word2vec

    shards = Shards(inputs["tokens"] / "documents")
    vocabulary, corpus = read_ids(shards.stream, shards.ends, pieces=pieces_of(open_tokenizer(inputs["tokenizer"])))
    epochs, seed = int(parameters["epochs"]), int(parameters["seed"])
    if parameters["init"] == "glove":
        settings = GloveParameters(epochs=epochs, seed=seed)
        return train_glove(vocabulary, corpus, parameters=settings, work=work, progress=progress).vectors
    skip = Word2VecParameters(epochs=epochs, seed=seed, reproducible=True)
    return train_word2vec(vocabulary, corpus, parameters=skip, progress=progress).vectors


def pieces_of(tokenizer: ModelTokenizer) -> list[str]:
    """Each token as the vocabulary writes it; an id that is none is named by its number."""
    return [tokenizer.token_of(i) or f"<{i}>" for i in range(tokenizer.vocabulary)]


@imports("lamina.model.architectures.presets", "lamina.model.checkpoint")
def fresh_model(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """A preset with fresh weights, for the trained tokenizer's vocabulary; its embeddings from ``vectors`` if given."""
    import torch

    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.architectures.presets import preset
    from lamina.model.checkpoint import read_config, save_model
    from lamina.model.spec import OutputSpec
    from lamina.model.transformer import Transformer

    torch.manual_seed(parameters["seed"])
    tokenizer = open_tokenizer(inputs["tokenizer"])
    teacher = inputs["tokenizer"] / "config.json"  # whose scores are compared with the model's, one by one
    vocabulary = read_config(teacher.parent)["vocab_size"] if teacher.is_file() else tokenizer.vocabulary
    sizing = inputs.get("sizing")
    spec = preset(parameters["preset"], vocabulary=vocabulary) if sizing is None else spec_of(sizing, vocabulary)
    if parameters.get("next_sentence"):
        spec = replace(spec, outputs=(OutputSpec(kind="pooler"), OutputSpec(kind="next-sentence")))
    model = Transformer(spec)
    if "vectors" in inputs:
        progress.say(embed(model, tokenizer, inputs["vectors"] / FILE, seed=parameters["seed"]))
    save_model(model, staging, like=inputs["tokenizer"])
    if spec.decoder is None:
        return  # it writes no text
    settings: dict[str, Any] = {"eos_token_id": list(tokenizer.end_ids), "temperature": 0.7, "top_p": 0.9}
    if spec.start_token is not None:
        end = tokenizer.end_ids[0]
        settings = {"eos_token_id": end, "decoder_start_token_id": spec.start_token, "pad_token_id": spec.start_token}
        config = read_config(staging) | {"eos_token_id": end, "forced_eos_token_id": end}
        atomic_write(staging / "config.json", json.dumps(config, indent=2, ensure_ascii=False).encode())
        _end_sources(staging / "tokenizer.json", tokenizer.token_of(end) or "", end)
    atomic_write(staging / "generation_config.json", json.dumps(settings, indent=1).encode())


def _end_sources(file: Path, token: str, id: int) -> None:
    """Let a tokenizer put the end behind what an encoder reads, as T5's and Marian's do: so it was trained."""
    table = json.loads(file.read_bytes())
    if table.get("post_processor") is None or table["post_processor"]["type"] == "ByteLevel":
        first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
        last = {"SpecialToken": {"id": token, "type_id": 0}}
        table["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [first, last],
            "pair": [first, last, second, last],
            "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
        }
        atomic_write(file, json.dumps(table, ensure_ascii=False).encode())


def embed(model: Transformer, tokenizer: ModelTokenizer, vectors: Path, *, seed: int) -> str:
    """Let the token table of ``model`` begin as the vectors in a file; says how many tokens have one."""
    import torch

    from lamina.model.vectors.tables import coverage, embedding_table
    from lamina.model.vectors.vector_files import read_vectors

    keyed, pieces = read_vectors(vectors), pieces_of(tokenizer)
    weight = model.stack.embeddings.token.weight
    table = embedding_table(keyed, pieces, weight.shape[1], std=_STD, seed=seed)
    with torch.no_grad():
        weight.copy_(torch.from_numpy(table))
    return f"embeddings from word vectors: {coverage(keyed, pieces)}"
