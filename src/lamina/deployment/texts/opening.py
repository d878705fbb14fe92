"""Which way a model is served, what it can be asked for, and opening it for that: told from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lamina.contracts.texts import Abilities, Task
from lamina.deployment.compress.int8 import Int8Linear
from lamina.deployment.compress.quantize import Quantization
from lamina.deployment.engine.encoders import choose_native, choose_native_writer
from lamina.deployment.engine.layer import check_served
from lamina.deployment.texts.encoder import MASK, EncoderModel, EncoderSettings
from lamina.deployment.texts.model import TextModel
from lamina.deployment.texts.writer import WriterModel, WriterSettings, read_settings, tasks_of
from lamina.kit.errors import ConfigError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.kit.tokenizer_files import read_json
from lamina.model.checkpoint import read_config
from lamina.model.evaluate.embedding import read_pooling
from lamina.model.families import family_of_config
from lamina.model.spec import ModelSpec, OutputSpec
from lamina.model.train.outputs import names_of
from lamina.model.transformer import Transformer

Kind = Literal["decoder", "encoder", "writer"]


def kind_of(spec: ModelSpec) -> Kind:
    """Which way a model is served. Raises ``ConfigError`` where nothing here serves it."""
    classes = any(output.kind in ("classify", "tag") for output in spec.outputs)
    if spec.encoder is not None and spec.decoder is not None:
        if spec.head is None:
            raise ConfigError("an encoder-decoder without a head writes nothing", where="deployment")
        return "writer"
    if spec.encoder is not None or (spec.head is None and classes):
        return "encoder"
    check_served(spec)
    return "decoder"


def spec_of(folder: Path) -> ModelSpec:
    """The specification of the model in ``folder``."""
    config, where = read_config(folder), str(folder / "config.json")
    return family_of_config(config, where).to_spec(config, where)


def abilities_of(folder: Path, *, context: int | None = None) -> Abilities:
    """What the model in ``folder`` can be asked for; its weights are not read. ``context`` caps the tokens of a text.

    Raises ``ConfigError`` where nothing here serves it, ``ModelFileError`` for files that are at fault.
    """
    spec, tokenizer = spec_of(folder), open_tokenizer(folder)
    kind = kind_of(spec)
    longest = min(context or spec.max_positions, spec.max_positions)
    if kind == "decoder":
        chats: tuple[Task, ...] = ("chat", "completions") if tokenizer.chats else ("completions",)
        return Abilities(tasks=chats, context=longest)
    if kind == "writer":
        settings = _writer(folder, tokenizer)
        return Abilities(tasks=tasks_of(settings), context=longest, pairs=tuple(settings.pairs))
    return _encoder_abilities(folder, spec, tokenizer, longest)


def open_texts(
    model: Transformer,
    tokenizer: ModelTokenizer,
    folder: Path,
    *,
    version: str,
    context: int | None = None,
    queue_tokens: int = 1 << 18,
    quantize: Quantization = "none",
    deterministic: bool = False,
) -> TextModel:
    """The service of ``model``, opened from ``folder``, that is no decoder. Takes the model over.

    ``quantize``: other than "none" the weights of an encoder's or encoder-decoder's blocks are rounded to int8 where
    the native kernels compute it; ``deterministic``: they do wherever they can, not only where they are faster.
    """
    abilities = abilities_of(folder, context=context)
    given: dict[str, Any] = {"version": version, "queue_tokens": queue_tokens}
    way: dict[str, Any] = {"rounded": Int8Linear.of, "by_time": not deterministic}
    if kind_of(model.spec) == "writer":
        writer = None if quantize == "none" else choose_native_writer(model, **way)
        return WriterModel(model, tokenizer, abilities, _writer(folder, tokenizer), native=writer, **given)
    pooling, longest = read_pooling(folder)
    several = read_config(folder).get("problem_type") == "multi_label_classification"
    found = EncoderSettings(pooling=pooling, longest=longest, several=several)
    native = None if quantize == "none" else choose_native(model, context=abilities.context, **way)
    return EncoderModel(model, tokenizer, abilities, found, native=native, **given)


def _encoder_abilities(folder: Path, spec: ModelSpec, tokenizer: ModelTokenizer, context: int) -> Abilities:
    outputs: dict[str, OutputSpec] = {output.kind: output for output in spec.outputs}
    mask = tokenizer.special_id("mask_token")
    tasks: list[Task] = []
    if spec.head is not None and mask is not None:
        tasks.append("fill-mask")
    known: tuple[tuple[str, Task], ...] = (("classify", "classify"), ("tag", "tag"))
    labels: tuple[str, ...] = ()
    for name, task in known:
        if name in outputs:
            tasks.append(task)
            count = outputs[name].labels
            named = names_of(read_config(folder))
            labels = named if len(named) == count else tuple(f"LABEL_{n}" for n in range(count))
    vectors = spec.decoder is None
    longest = read_pooling(folder)[1]
    if not tasks and longest is not None:
        context = min(context, longest)
    return Abilities(
        tasks=(*tasks, "embeddings") if vectors else tuple(tasks),
        context=context,
        width=spec.stack.embeddings.width if vectors else None,
        labels=labels,
        mask=MASK if "fill-mask" in tasks else None,
    )


def _writer(folder: Path, tokenizer: ModelTokenizer) -> WriterSettings:
    return read_settings(
        read_config(folder),
        read_json(folder / "generation_config.json"),
        read_json(folder / "tokenizer_config.json"),
        tokenizer,
    )
