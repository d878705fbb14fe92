"""A trained model given another output: classes, or the vectors of texts; what it knows stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lamina.kit.errors import ConfigError
from lamina.model.spec import OutputSpec
from lamina.model.transformer import Transformer


def for_classes(model: Transformer, labels: int) -> Transformer:
    """``model`` with scores for ``labels`` classes of a text and without its other outputs.

    An encoder's stand on its pooler (arXiv 1810.04805), a decoder's on the text's last token (GPT-1, Radford et al.
    2018). The scores are fresh, drawn from torch's generator; all is on the device of ``model``. Raises
    ``ConfigError`` for an encoder-decoder and for fewer than two classes.
    """
    if model.spec.encoder is not None and model.spec.decoder is not None:
        raise ConfigError("an encoder-decoder gets no classes here", where="for_classes", hint="take an encoder")
    if labels < 2:
        raise ConfigError(f"{labels} class is none to tell from others", where="for_classes")
    outputs: list[OutputSpec] = [OutputSpec(kind="classify", labels=labels, bias=model.spec.decoder is None)]
    if model.spec.decoder is None:
        outputs.insert(0, OutputSpec(kind="pooler"))
    return _rebuilt(model, outputs)


def for_vectors(model: Transformer) -> Transformer:
    """The encoder of ``model`` alone, for vectors of texts. Raises ``ConfigError`` where it has a decoder."""
    if model.spec.decoder is not None:
        raise ConfigError("vectors of texts are trained with an encoder", where="for_vectors", hint="take a BERT")
    return _rebuilt(model, [])


def label_names(names: Sequence[str]) -> dict[str, Any]:
    """What config.json says of classes: ``id2label``, ``label2id`` (as ``transformers`` has them)."""
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }


def names_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a config.json's classes in the order of their scores; none where it has no classes."""
    table = config.get("id2label")
    if not isinstance(table, Mapping):
        return ()
    return tuple(str(table[key]) for key in sorted(table, key=lambda key: int(key)))


def _rebuilt(model: Transformer, outputs: Sequence[OutputSpec]) -> Transformer:
    device = model.stack.embeddings.token.weight.device
    made = Transformer(replace(model.spec, head=None, outputs=tuple(outputs))).to(device)
    ours, wanted = model.state_dict(), made.state_dict()
    same = {name: ours[name] for name in wanted if name in ours and not name.startswith("outputs.classify.")}
    made.load_state_dict(same, strict=False)
    return made.eval()
