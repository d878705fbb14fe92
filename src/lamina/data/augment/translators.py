"""Opening a translator: Apertium, CTranslate2 models, or any model behind an OpenAI-compatible address."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from lamina.data.augment.apertium import Apertium
from lamina.data.augment.ctranslate2_models import CTranslate2
from lamina.data.augment.tags import primary
from lamina.kit.errors import ConfigError, FetchError, restored
from lamina.kit.service import Service

OWN = "own"  # the stack's own model: served like others, but it must show how good it is (see ``choose``)
CTRANSLATE2 = "ctranslate2:"  # before a folder of models
TRANSLATOR = "LAMINA_TRANSLATOR"  # environment: where the stack's own encoder-decoders answer, while a corpus is built
_HINT = (
    'write "apertium", "ctranslate2:FOLDER" (with folders such as en-es in it), "own" for the stack\'s own model, or '
    "the address of a served model"
)
_NAMES = {
    **{"en": "English", "es": "Spanish", "fr": "French", "de": "German", "it": "Italian", "pt": "Portuguese"},
    **{"nl": "Dutch", "ca": "Catalan", "gl": "Galician", "sv": "Swedish", "da": "Danish", "pl": "Polish"},
    **{"ru": "Russian", "uk": "Ukrainian", "cs": "Czech", "fi": "Finnish", "tr": "Turkish", "zh": "Chinese"},
    **{"ja": "Japanese", "ko": "Korean", "ar": "Arabic", "hi": "Hindi", "eo": "Esperanto"},
}
_TOGETHER = 256  # texts in one question
_KEY = "LAMINA_TRANSLATOR_KEY"  # environment: what a served model wants as its API key


class Sampler(Protocol):
    """A ``contracts.inference.Translator`` whose draws can be repeated."""

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """One translation a text."""
        ...

    def reseed(self, seed: int) -> None:
        """What follows is drawn from ``seed``; translators that draw nothing ignore it."""
        ...


@lru_cache(maxsize=4)
def open_translator(location: str, *, temperature: float = 0.0, model: str = "", remote: bool = False) -> Sampler:
    """The translator at ``location`` (the stack's own model is at "own:ADDRESS"), kept for the life of this process.

    ``temperature`` above 0 samples, for diversity (Edunov et al. 2018). ``model``: the name that a served model goes
    by. ``remote``: texts may be sent to an address that is not this machine. Raises ``ConfigError`` or
    ``MissingExtraError`` where there is none.
    """
    if location == "apertium":
        return Apertium()
    if location.startswith(CTRANSLATE2):
        return CTranslate2(Path(location.removeprefix(CTRANSLATE2)), temperature=temperature)
    if location == OWN and os.environ.get(TRANSLATOR):
        return OwnModels(temperature=temperature)
    if location.startswith(f"{OWN}:"):
        # What its documents say must not find its way into translations.
        options = {"grounding": "weights only"}
        return Served(location.removeprefix(f"{OWN}:"), temperature=temperature, remote=remote, options=options)
    if location.startswith(("http://", "https://")):
        return Served(location, model=model, temperature=temperature, remote=remote)
    raise ConfigError(f"'{location}' is no translator", hint=_HINT)


def names_in(value: str | Sequence[str]) -> list[str]:
    """The translators that a table names, one or several."""
    return [value] if isinstance(value, str) else [str(name) for name in value]


def shown(location: str) -> str:
    """A location without the path that is this machine's: what children tell of."""
    return CTRANSLATE2 + Path(location).name if location.startswith(CTRANSLATE2) else location


class OwnModels:
    """Encoder-decoders of this stack, and of others that it names, behind ``<address>/translate``, where the address is
    what the environment says when they are asked."""

    def __init__(self, *, temperature: float = 0.0) -> None:
        self._service: Service | None = None
        self._temperature = temperature
        self._random = random.Random(0)

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """One translation a text; one that is too long for the model as it is. Raises ``InputError`` for a pair of
        languages that no model has."""
        address = os.environ.get(TRANSLATOR, "")
        if self._service is None or self._service.address != address:
            self._service = Service(address, timeout_s=3600.0)
        found = list(texts)
        asked = [number for number, text in enumerate(texts) if text.strip()]
        for begin in range(0, len(asked), _TOGETHER):
            some = asked[begin : begin + _TOGETHER]
            body: dict[str, Any] = {"texts": [texts[n] for n in some], "source": source, "target": target}
            body |= {"temperature": self._temperature, "seed": self._random.randrange(1 << 31)}
            answer = self._service.post("/translate", body)
            if "refused" in answer:
                raise restored(answer["refused"])
            for number, text in zip(some, answer["texts"], strict=True):
                found[number] = text
        return found

    def reseed(self, seed: int) -> None:
        """What follows is drawn from ``seed``."""
        self._random = random.Random(seed)


class Served:
    """Any chat model behind ``<address>/chat/completions`` (OpenAI's API), asked to translate.

    Texts leave this machine only where ``remote`` says so. The key, if one is wanted, is in the environment as
    LAMINA_TRANSLATOR_KEY. ``options`` are sent along with every request.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "",
        temperature: float = 0.0,
        remote: bool = False,
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        self._service = Service(address, remote=remote, key=_KEY, timeout_s=timeout_s)
        self._model, self._temperature = model, temperature
        self._options = dict(options or {})
        self._random = random.Random(0)

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """One translation a text, asked for one by one. Raises ``FetchError`` where the model does not answer."""
        a, b = (_NAMES.get(primary(code), code) for code in (source, target))
        return [self._ask(f"Translate from {a} to {b}. Answer with the translation only.\n\n{t}", t) for t in texts]

    def reseed(self, seed: int) -> None:
        """The seeds sent along follow from ``seed``; the server must honour them."""
        self._random = random.Random(seed)

    def _ask(self, prompt: str, text: str) -> str:
        body: dict[str, Any] = {
            **self._options,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self._temperature,
            "max_tokens": 64 + len(text),
            "seed": self._random.randrange(1 << 31),
        }
        if self._model:
            body["model"] = self._model
        answer = self._service.post("/chat/completions", body)
        try:
            return str(answer["choices"][0]["message"]["content"] or "").strip()
        except (LookupError, TypeError) as error:
            raise FetchError("the served model gave no translation", where=self._service.address) from error
