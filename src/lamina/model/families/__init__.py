"""Hugging Face model families: ``config.json`` to specification and back, and their weight names as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.kit.errors import ModelFileError
from lamina.model.families import bert, gemma, gpt2, llama, marian, qwen, smollm3, t5
from lamina.model.families.weights import Family
from lamina.model.spec import ModelSpec

FAMILIES: tuple[Family, ...] = (
    llama.FAMILY,
    qwen.QWEN2,
    qwen.QWEN3,
    smollm3.FAMILY,
    gemma.FAMILY,
    gpt2.FAMILY,
    bert.FAMILY,
    t5.FAMILY,
    marian.FAMILY,
)


def family_of_config(config: Mapping[str, Any], where: str) -> Family:
    """The family that a ``config.json`` names in ``model_type``."""
    for family in FAMILIES:
        if config.get("model_type") == family.model_type:
            return family
    known = ", ".join(f.model_type for f in FAMILIES)
    raise ModelFileError(
        f"the model_type {config.get('model_type')!r} is not known", where=where, hint=f"known: {known}"
    )


def family_of_spec(spec: ModelSpec) -> tuple[Family, dict[str, Any]]:
    """The first family that can express ``spec``, and the ``config.json`` that says it."""
    for family in FAMILIES:
        config = family.from_spec(spec)
        if config is not None:
            return family, config
    known = ", ".join(f.model_type for f in FAMILIES)
    raise ModelFileError("no Hugging Face family can express this model", where="spec", hint=f"tried: {known}")
