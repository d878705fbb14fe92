"""A settled request in vLLM's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lamina.contracts.inference import Constraint, SamplingParams
from lamina.deployment.engine.adjusting import Rules
from lamina.deployment.engine.sequence import Sequence
from lamina.deployment.engine.trial import JSON_DEFAULTS


@dataclass(frozen=True, slots=True)
class Asked:
    """``fields`` are those of vLLM's ``SamplingParams``, but for ``constraint``; ``salt`` keeps prefix caches apart."""

    fields: Mapping[str, Any]
    constraint: Constraint | None
    salt: str


def asked_of(sequence: Sequence, sampling: SamplingParams, rules: Rules, salt: str) -> Asked:
    """What vLLM is asked for ``sequence``, which was made of ``sampling``; ``rules`` are its settled ones.

    Ends are ours to say, by token ids: vLLM's own idea of them is switched off. Stop strings are found here, in the
    text that is streamed. A seed goes along only where the request has one: vLLM draws such rows one by one.
    """
    sampler, guided = sequence.sampler, sequence.guide is not None
    fields: dict[str, Any] = {
        "temperature": sampler.temperature,
        "top_p": sampler.top_p,
        "top_k": sampler.top_k or 0,
        "min_p": sampler.min_p,
        "seed": None if sampling.seed is None else sampler.seed,
        "repetition_penalty": rules.repetition,
        "presence_penalty": rules.presence,
        "frequency_penalty": rules.frequency,
        "logit_bias": dict(rules.bias) or None,
        "max_tokens": sequence.max_tokens,
        "min_tokens": 0 if guided else rules.least,  # a constraint knows when the answer may end
        "ignore_eos": True,
        "stop_token_ids": sorted(sequence.end_ids),
        "logprobs": sampler.logprobs or 0,  # of the drawn tokens at least: their mean is part of every answer
        "detokenize": False,
    }
    return Asked(fields, _with_defaults(sampling.constraint) if guided else None, salt)


def _with_defaults(constraint: Constraint | None) -> Constraint | None:
    """Our defaults for JSON go along in the schema: vLLM has others, and what it allows must be what we allow."""
    if constraint is None or constraint.kind != "json":
        return constraint
    schema = json.loads(constraint.text)  # an object: others were refused where it was read
    schema["x-guidance"] = {**JSON_DEFAULTS, **schema.get("x-guidance", {})}
    return replace(constraint, text=json.dumps(schema))
