"""A version in memory: opened, checked against its seal, warmed, with an engine of its own."""

from __future__ import annotations

import ctypes
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from lamina.contracts.inference import Request
from lamina.contracts.lineage import ModelVersion
from lamina.deployment.compress.quantize import dequantize, is_quantized, open_served
from lamina.deployment.drafts import open_draft
from lamina.deployment.engine.admission import StreamingTokenizer
from lamina.deployment.engine.choice import DisprovedError, Proof
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.lifecycle import Lifecycle
from lamina.deployment.engine.ngrams import Ngrams
from lamina.deployment.fit.fitter import Fitter
from lamina.deployment.fit.proofs import key_of
from lamina.deployment.seal import MOST_NATS_BFLOAT16, check_seal
from lamina.deployment.texts.model import TextModel, refuse
from lamina.deployment.texts.opening import kind_of, open_texts
from lamina.deployment.tools import check_tools
from lamina.deployment.vllm.engine import VllmEngine
from lamina.deployment.vllm.opening import open_by_vllm
from lamina.deployment.warming import warm
from lamina.kit.errors import ConfigError, CorruptError, InputError, LaminaError
from lamina.kit.starting import collect
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.kit.tokenizer_identity import fingerprint
from lamina.model.device import Device, choose_device
from lamina.model.transformer import Transformer

_log = logging.getLogger(__name__)
E = TypeVar("E", Engine, VllmEngine)
#: Where the n-grams lie by which a version's next tokens are guessed; None: it has none.
NgramsOf = Callable[[ModelVersion], Path | None]
_OF_TEXTS = ("context", "queue_tokens", "quantize", "deterministic")  # options of what answers whole texts


class Versions(Protocol):
    """What the service needs of the registry."""

    def epoch(self) -> int:
        """Counts up with each change of a name."""
        ...

    def resolve(self, name: str) -> ModelVersion:
        """By alias or id; "" is the champion."""
        ...

    def folder(self, version: str) -> Path:
        """A version's folder, verified."""
        ...

    def seal(self, version: str) -> dict[str, Any]:
        """A version's parity seal."""
        ...


@dataclass(slots=True, eq=False)
class Loaded:
    """A version in memory. ``users`` counts the requests that hold it; a retired one is freed when the last ends."""

    version: ModelVersion
    tokenizer: StreamingTokenizer
    serving: Engine | VllmEngine | TextModel
    users: int = 0
    retired: bool = False

    @property
    def engine(self) -> Lifecycle:
        """What goes on with texts. Raises ``InputError`` where the model does not."""
        if isinstance(self.serving, TextModel):
            refuse(self.version.id, "chat", self.serving.abilities.tasks)
        return self.serving

    @property
    def own(self) -> Engine:
        """The house's own engine. Raises ``InputError`` where another answers."""
        if not isinstance(self.engine, Engine):
            what = f"{self.version.id} is answered by vLLM, which cannot do this here"
            raise InputError(what, where="deployment.engine", hint='engine = "lamina"')
        return self.engine

    @property
    def texts(self) -> TextModel | None:
        """What answers whole texts; None of a model that goes on with them."""
        return self.serving if isinstance(self.serving, TextModel) else None


def load_version(
    registry: Versions,
    version: ModelVersion,
    options: Mapping[str, Any],
    *,
    device: Device = "auto",
    fitter: Fitter | None = None,
) -> Loaded:
    """Open, check and warm ``version``; ``options`` are those of ``Engine`` (but ``ngrams``, an ``NgramsOf``, and
    ``draft``, a ``DraftOf``) and of ``open_texts``, and ``engine``, see ``open_by_vllm``; ``fitter`` chooses those that
    are not given where the processor computes, and keeps what the checks found for the next start. Raises what the
    checks raise."""
    folder, seal = registry.folder(version.id), registry.seal(version.id)
    target = _target(device, deterministic=bool(options.get("deterministic")))
    own = target.type == "cpu" and options.get("engine") != "vllm"  # what a proof tells of is our engine's
    proofs = fitter.proofs if fitter is not None and own else None
    key = "" if proofs is None else key_of(version.digest, seal, options)
    proof = None if proofs is None else proofs.find(key)
    load = partial(_load, version, folder, seal, target=target, fitter=fitter)
    loaded = None
    try:
        loaded = load(options, proof=proof)
    except DisprovedError as error:
        _log.warning("%s is checked anew: %s", version.id, error)
    if loaded is None:  # out of the handler, whose error holds the first model
        assert proofs is not None
        proofs.forget(key)
        proof, loaded = None, load(options, proof=None)
    if proofs is not None and proof is None and isinstance(loaded.serving, Engine):
        found = loaded.serving.runner.proof
        if found is not None:
            proofs.keep(key, found)
    return loaded


def _load(
    version: ModelVersion,
    folder: Path,
    seal: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    target: torch.device,
    fitter: Fitter | None,
    proof: Proof | None,
) -> Loaded:
    """``version`` from its ``folder``, checked against its ``seal`` unless a ``proof`` tells that it was."""
    model, tokenizer = open_served(folder, lent=proof is not None), open_tokenizer(folder)
    if proof is not None:
        _log.info("%s was checked on this machine before: the same bits are asked of the kernels", version.id)
    elif seal:
        check_seal(model, tokenizer, seal, digest=version.digest)
    else:
        _log.warning("%s has no parity seal: nothing proves that it is the one that was measured", version.id)
    options = dict(options)
    wanted = options.pop("engine", "lamina")
    if wanted != "lamina" and kind_of(model.spec) == "decoder":
        given = {**options, "draft": options.get("draft") and options["draft"](version)}
        told: dict[str, Any] = {"seal": seal, "options": given, "generation": _generation(folder)}
        other = open_by_vllm(wanted, model, tokenizer, folder, version=version.id, device=target, **told)
        if other is not None:
            return Loaded(version=version, tokenizer=tokenizer, serving=_ready(other))
    if target.type != "cpu":
        model = _sealed(placed(model, target), tokenizer, seal, folder, version.id)
    if kind_of(model.spec) != "decoder":
        given = {name: options[name] for name in _OF_TEXTS if name in options}
        texts = open_texts(model, tokenizer, folder, version=version.id, **given)
        tasks = ", ".join(texts.abilities.tasks)
        _log.info("%s is loaded, computed by %s; it can be asked to %s", version.id, texts.kernels, tasks)
        return Loaded(version=version, tokenizer=tokenizer, serving=texts)
    options = {name: value for name, value in options.items() if name != "quantize"}  # a decoder's folder says it
    options["ngrams"] = _ngrams(options.get("ngrams"), version, tokenizer)
    fitter = fitter if next(iter(model.state_dict().values())).device.type == "cpu" else None
    engine = _engine(version, model, tokenizer, options | {"proof": proof, "generation": _generation(folder)}, fitter)
    return Loaded(version=version, tokenizer=tokenizer, serving=engine)


def _engine(
    version: ModelVersion,
    model: Transformer,
    tokenizer: ModelTokenizer,
    options: dict[str, Any],
    fitter: Fitter | None,
) -> Engine:
    """The engine, fitted, after its first tokens."""
    draft = options["draft"] = open_draft(options.get("draft"), version, model, tokenizer, options)
    try:
        options = options if fitter is None else fitter.options(model, options)
        engine = Engine(model, tokenizer, version=version.id, sole=True, **options)
    except BaseException:
        if draft is not None:
            draft.close()
        raise
    try:
        if fitter is not None:
            fitter.fit(engine, version.id)
        warm(engine)
    except BaseException:
        engine.close()
        engine.forget()
        raise
    return _ready(engine)


def _ready(engine: E) -> E:
    """``engine``, which has given its first answer."""
    engine.guidance.prepare()
    _log.info("%s is loaded; generation defaults: %s", engine.version, engine.generation)
    return engine


def _ngrams(find: NgramsOf | None, version: ModelVersion, tokenizer: StreamingTokenizer) -> Ngrams | None:
    """Those of ``version``. Damaged ones, and those of another tokenizer, it does without: they change no answer."""
    folder = None if find is None else find(version)
    if folder is None:
        return None
    try:
        found = Ngrams(folder)
    except (LaminaError, OSError) as error:
        _log.warning("%s is served without the n-grams of its documents: %s", version.id, error)
        return None
    if found.tokenizer != fingerprint(tokenizer):
        _log.warning("%s is served without the n-grams in %s: they are of another tokenizer", version.id, folder)
        return None
    return found


def _sealed(
    model: Transformer, tokenizer: StreamingTokenizer, seal: Mapping[str, Any], folder: Path, version: str
) -> Transformer:
    """``model`` on its GPU, if it answers there as it was measured; else as it lies in ``folder``, on the processor."""
    if seal:
        try:
            check_seal(model, tokenizer, seal, most=MOST_NATS_BFLOAT16)
        except CorruptError as error:
            _log.warning("%s answers differently on the GPU (%s): it is served on the processor", version, error)
            return open_served(folder)
    return model


def placed(model: Transformer, device: torch.device) -> Transformer:
    """``model`` on ``device``; on a GPU in bfloat16, whose products are faster there than those of int8 weights."""
    if device.type == "cpu":
        return model
    plain = dequantize(model, torch.bfloat16) if is_quantized(model) else model.to(torch.bfloat16)
    return plain.to(device)


def _target(device: Device, *, deterministic: bool) -> torch.device:
    """Where it is to be computed."""
    if deterministic and device == "cuda":
        raise ConfigError(
            "what a GPU answers depends on what else it answers",
            where="deployment.deterministic",
            hint='device = "cpu"',
        )
    return choose_device("cpu" if deterministic else device, where="deployment.device")


def unload(loaded: Loaded) -> None:
    """Free a version that nobody holds."""
    loaded.serving.close()
    loaded.serving.forget()
    collect()
    with suppress(OSError, AttributeError):  # glibc gives freed memory back to the system; others have no such call
        ctypes.CDLL(None).malloc_trim(0)
    _log.info("%s is unloaded", loaded.version.id)


def prompt_ids(tokenizer: StreamingTokenizer, request: Request) -> list[int]:
    """The token ids of a request: a rendered conversation, encoded text, or ids as they are."""
    if request.messages and request.tools:
        check_tools(request, getattr(tokenizer, "tool_form", None))
        return tokenizer.render(request.messages, open_answer=True, tools=request.tools).ids
    if request.messages:
        return tokenizer.render(request.messages, open_answer=True).ids
    if isinstance(request.prompt, str):
        return tokenizer.encode(request.prompt)
    if request.prompt is None:
        raise InputError("needs either 'messages' or 'prompt'", where="messages")
    return list(request.prompt)


def _generation(folder: Path) -> dict[str, Any]:
    """The model's ``generation_config.json``; empty where there is none."""
    with suppress(FileNotFoundError, ValueError):
        values = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}
    return {}
