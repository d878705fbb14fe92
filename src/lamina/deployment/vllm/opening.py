"""Whether vLLM answers for a version, and the engine over it where it does."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch

from lamina.deployment.compress.quantize import dequantize, is_quantized
from lamina.deployment.engine.admission import StreamingTokenizer
from lamina.deployment.engine.cache import bytes_per_token
from lamina.deployment.engine.sizes import suited
from lamina.deployment.seal import MOST_NATS_BFLOAT16, check_scores, prompts_of
from lamina.deployment.vllm.backend import Setting, describe, is_installed
from lamina.deployment.vllm.engine import VllmEngine
from lamina.deployment.warming import warm
from lamina.kit.errors import ConfigError, LaminaError
from lamina.model.checkpoint import save_model
from lamina.model.transformer import Transformer

EngineName = Literal["lamina", "auto", "vllm"]
_log = logging.getLogger(__name__)
_WHERE = "deployment.engine"
_OURS = 'engine = "lamina"'
_PAGE = 128  # tokens of a block of vLLM's cache, at most
_SPARE = 2 * _PAGE  # one block is nobody's, and a sequence may begin in the middle of one
#: What only the house's own engine does: the option, whether it is asked for, and why not.
_OWN: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("deterministic", bool, "what vLLM answers depends on what else it answers"),
    ("draft", lambda draft: draft is not None, "the draft guesses for Lamina's engine"),
    ("cache", lambda cache: cache is not None, "the kind of keys and values is that of Lamina's engine"),
)


def open_by_vllm(
    wanted: EngineName,
    model: Transformer,
    tokenizer: StreamingTokenizer,
    folder: Path,
    *,
    version: str,
    seal: Mapping[str, Any],
    options: Mapping[str, Any],
    generation: Mapping[str, Any],
    device: torch.device,
) -> VllmEngine | None:
    """The engine over vLLM; None where the house's own is to answer: "auto" takes vLLM on a GPU where it is installed
    and gives the answers that were sealed. ``options``: an engine's.

    Raises ``ConfigError`` where "vllm" is asked for and cannot be had.
    """
    if wanted == "lamina" or (wanted == "auto" and device.type == "cpu"):
        return None
    try:
        _check(options)
        engine = _opened(model, tokenizer, folder, version, options, generation, device)
        try:
            _check_answers(engine, model, tokenizer, seal)
            warm(engine)
        except BaseException:
            engine.close()
            engine.forget()
            raise
    except LaminaError as error:
        if wanted == "vllm":
            raise ConfigError(error.what, where=error.where or _WHERE, hint=error.hint or _OURS) from error
        _log.warning("%s is answered by Lamina's own engine, not by vLLM: %s", version, error.what)
        return None
    _log.warning('%s is answered by %s (%s = "%s")', version, describe(), _WHERE, wanted)
    return engine


def _check(options: Mapping[str, Any]) -> None:
    """Raise where vLLM is not there, or cannot do what is asked."""
    if not is_installed():
        raise ConfigError("vLLM is not installed", where=_WHERE, hint=f"pip install vllm beside Lamina, or {_OURS}")
    for name, asked, why in _OWN:
        if asked(options.get(name)):
            raise ConfigError(why, where=f"deployment.{name}", hint=_OURS)


def _opened(
    model: Transformer,
    tokenizer: StreamingTokenizer,
    folder: Path,
    version: str,
    options: Mapping[str, Any],
    generation: Mapping[str, Any],
    device: torch.device,
) -> VllmEngine:
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    sizes, longest = suited(device), model.spec.max_positions
    longest = min(options.get("context") or longest, longest)
    token_bytes = _token_bytes(model, dtype)
    given, usual = options.get("cache_mb"), sizes.cache_mb * 2**20 // token_bytes
    tokens = given * 2**20 // token_bytes if given else max(usual, longest + _SPARE)
    context = min(longest, tokens - _SPARE)
    if context < 1:
        raise ConfigError(f"{given} MiB hold {tokens} tokens, which is too few", where="deployment.cache_mb")
    with ExitStack() as stays:
        plain = folder
        if is_quantized(model):
            plain = Path(stays.enter_context(tempfile.TemporaryDirectory(prefix="lamina-vllm-")))
            write_plain(model, plain, like=folder, dtype=dtype)
        setting = Setting(
            folder=plain,
            dtype=str(dtype).removeprefix("torch."),
            device=device.type,
            context=context,
            sequences=options.get("max_sequences") or sizes.sequences,
            cache_tokens=tokens,
            token_bytes=token_bytes,
        )
        engine = VllmEngine(
            setting,
            tokenizer,
            version=version,
            vocabulary=model.spec.stack.embeddings.vocabulary,
            generation=generation,
            queue_tokens=options.get("queue_tokens", 32768),
            max_wait=options.get("max_wait"),
        )
        engine.release = stays.pop_all().close
    return engine


def write_plain(model: Transformer, folder: Path, *, like: Path, dtype: torch.dtype) -> None:
    """A quantised ``model`` multiplied out in ``folder``, in Hugging Face's layout, with the tokenizer of ``like``."""
    save_model(dequantize(model, dtype), folder, like=like)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _token_bytes(model: Transformer, dtype: torch.dtype) -> int:
    """Of a token's keys and values in ``dtype``; ``model`` lies on the processor, where ours are float32."""
    return bytes_per_token(model, None) * dtype.itemsize // torch.float32.itemsize


def _check_answers(
    engine: VllmEngine, model: Transformer, tokenizer: StreamingTokenizer, seal: Mapping[str, Any]
) -> None:
    """Raise where vLLM's answers are not those that were measured, as far from them as a GPU may be (decision 15)."""
    if not seal:
        return
    scores = torch.stack([engine.scores(ids) for ids in prompts_of(tokenizer, model.spec.max_positions)])
    check_scores(scores, seal, describe(), most=MOST_NATS_BFLOAT16)
