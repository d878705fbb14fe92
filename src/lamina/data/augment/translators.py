"""Opening a translator: Apertium, CTranslate2 models, or any model behind an OpenAI-compatible address."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from lamina.data.augment.apertium import Apertium
from lamina.data.augment.tags import primary
from lamina.kit.errors import ConfigError, FetchError, InputError, require
from lamina.kit.service import Service

OWN = "own"  # the stack's own model: served like others, but it must show how good it is (see ``choose``)
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
    if location.startswith("ctranslate2:"):
        return CTranslate2(Path(location.removeprefix("ctranslate2:")), temperature=temperature)
    if location.startswith(f"{OWN}:"):
        # What its documents say must not find its way into translations.
        options = {"grounding": "weights only"}
        return Served(location.removeprefix(f"{OWN}:"), temperature=temperature, remote=remote, options=options)
    if location.startswith(("http://", "https://")):
        return Served(location, model=model, temperature=temperature, remote=remote)
    raise ConfigError(f"'{location}' is no translator", hint=_HINT)


class CTranslate2:
    """Models in CTranslate2's format (OPUS-MT and the like), a folder a direction: ``en-es/model.bin`` and, beside it,
    ``tokenizer.json``, or ``source.spm`` and ``target.spm``. Needs the extra ``translate``.
    """

    def __init__(self, folder: Path, *, temperature: float = 0.0, threads: int = 0) -> None:
        self._library: Any = require("ctranslate2", extra="translate", why="to translate with CTranslate2 models")
        self._folders = {tuple(p.parent.name.split("-", 1)): p.parent for p in sorted(folder.glob("*-*/model.bin"))}
        if not self._folders:
            raise ConfigError("here is no model (no folder such as en-es with a model.bin)", where=str(folder))
        self._temperature, self._threads = temperature, threads
        self._models: dict[tuple[str, str], tuple[Any, _Pieces]] = {}

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The directions at hand."""
        return tuple((a, b) for a, b in self._folders)

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """One translation a text; greedy, or sampled where the temperature is above 0."""
        model, pieces = self._open((primary(source), primary(target)))
        options: dict[str, Any] = {"beam_size": 1, "max_batch_size": 2048, "batch_type": "tokens"}
        if self._temperature > 0:
            options |= {"sampling_topk": 0, "sampling_temperature": self._temperature}
        results = model.translate_batch([pieces.split(text) for text in texts], **options)
        return [pieces.join(result.hypotheses[0]) for result in results]

    def reseed(self, seed: int) -> None:
        """The random state is the whole process's: nothing else may sample at the same time."""
        self._library.set_random_seed(seed % (1 << 32))

    def _open(self, pair: tuple[str, str]) -> tuple[Any, _Pieces]:
        if pair not in self._models:
            folder = self._folders.get(pair)
            if folder is None:
                known = ", ".join("-".join(p) for p in self._folders)
                raise InputError(f"there is no model {'-'.join(pair)}", hint=f"at hand: {known}")
            threads = {"inter_threads": 1, "intra_threads": self._threads}
            self._models[pair] = self._library.Translator(str(folder), device="cpu", **threads), _Pieces(folder)
        return self._models[pair]


class _Pieces:
    """A model's tokenizer."""

    def __init__(self, folder: Path) -> None:
        self._fast: Any = None
        if (folder / "tokenizer.json").is_file():
            from tokenizers import Tokenizer

            self._fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
        elif (folder / "source.spm").is_file() and (folder / "target.spm").is_file():
            library: Any = require("sentencepiece", extra="translate", why="for models with source.spm and target.spm")
            self._source = library.SentencePieceProcessor(model_file=str(folder / "source.spm"))
            self._target = library.SentencePieceProcessor(model_file=str(folder / "target.spm"))
        else:
            raise ConfigError("the model has neither tokenizer.json nor source.spm and target.spm", where=str(folder))

    def split(self, text: str) -> list[str]:
        """Pieces with the end mark that Marian models want."""
        if self._fast is not None:
            return list(self._fast.encode(text).tokens)
        return [*self._source.encode(text, out_type=str), "</s>"]

    def join(self, pieces: Sequence[str]) -> str:
        """The text of pieces."""
        if self._fast is not None:
            ids = [self._fast.token_to_id(piece) for piece in pieces]
            return str(self._fast.decode([i for i in ids if i is not None]))
        return str(self._target.decode([piece for piece in pieces if piece != "</s>"]))


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
