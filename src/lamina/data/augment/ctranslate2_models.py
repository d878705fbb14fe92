"""Translation by CTranslate2 models (OPUS-MT and the like), on this machine. Needs the extra ``translate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from lamina.data.augment.tags import primary
from lamina.kit.errors import ConfigError, InputError, ModelFileError, require
from lamina.kit.workers import cores

_LONGEST = 250  # pieces of a sentence; models of the OPUS family know 512 places ...
_MOST = 500  # ... and a translation that gets so long has lost its way
_SEEDS = (1 << 32) - 1  # the library takes this last one for "no seed"


class CTranslate2:
    """Models in CTranslate2's format, a folder a direction: ``en-es/model.bin`` and, beside it, ``tokenizer.json``, or
    ``source.spm`` and ``target.spm``.

    Raises ``MissingExtraError`` without the library, ``ConfigError`` where there is no model, ``ModelFileError`` for
    one that the library cannot read.
    """

    def __init__(self, folder: Path, *, temperature: float = 0.0) -> None:
        self._library: Any = require("ctranslate2", extra="translate", why="to translate with CTranslate2 models")
        self._folders = {tuple(p.parent.name.split("-", 1)): p.parent for p in sorted(folder.glob("*-*/model.bin"))}
        if not self._folders:
            raise ConfigError("here is no model (no folder such as en-es with a model.bin)", where=str(folder))
        self._temperature = temperature
        self._models: dict[tuple[str, str], Any] = {}
        self._pieces: dict[tuple[str, str], _Pieces] = {}

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The directions at hand."""
        return tuple((a, b) for a, b in self._folders)

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """One translation a text; greedy, or sampled where the temperature is above 0.

        "" stands for a text that the model cannot translate whole (over 250 pieces, or more than it has places for), or
        not in words that it has: better none than one that is cut off. Raises ``InputError`` for a pair that is not
        there.
        """
        model, pieces = self._open((primary(source), primary(target)))
        split = [pieces.split(text) if text.strip() else [] for text in texts]
        asked = [number for number, found in enumerate(split) if 0 < len(found) <= _LONGEST]
        answers = self._ask(model, [split[number] for number in asked])
        found = [""] * len(texts)
        for number, answer in zip(asked, answers, strict=True):
            if len(answer) < _MOST and pieces.unknown not in answer:
                found[number] = pieces.join(answer)
        return found

    def reseed(self, seed: int) -> None:
        """What is sampled from now on follows from ``seed``. The random state is the whole process's: nothing else may
        sample at the same time."""
        self._library.set_random_seed(seed % _SEEDS)
        if self._temperature > 0:
            # A model's thread takes the seed at its first draw and never again, so only a fresh one draws by this seed.
            self._models.clear()

    def _ask(self, model: Any, pieces: Sequence[Sequence[str]]) -> list[list[str]]:
        """The pieces of each translation; none where the model has no place for a text that is so long."""
        options: dict[str, Any] = {"beam_size": 1, "max_batch_size": 2048, "batch_type": "tokens"}
        options |= {"max_input_length": 0, "max_decoding_length": _MOST}
        if self._temperature > 0:
            options |= {"sampling_topk": 0, "sampling_temperature": self._temperature}
        try:
            return [list(result.hypotheses[0]) for result in model.translate_batch(list(pieces), **options)]
        except RuntimeError as error:
            if "position" not in str(error):
                raise
            return [[]] if len(pieces) == 1 else [answer for alone in pieces for answer in self._ask(model, [alone])]

    def _open(self, pair: tuple[str, str]) -> tuple[Any, _Pieces]:
        folder = self._folders.get(pair)
        if folder is None:
            known = ", ".join("-".join(p) for p in self._folders)
            raise InputError(f"there is no model {'-'.join(pair)}", hint=f"at hand: {known}")
        if pair not in self._pieces:
            self._pieces[pair] = _Pieces(folder)
        if pair not in self._models:
            threads = {"inter_threads": 1, "intra_threads": cores()}  # one draws after the other
            try:
                self._models[pair] = self._library.Translator(str(folder), device="cpu", **threads)
            except RuntimeError as error:
                raise ModelFileError(f"CTranslate2 cannot read the model: {error}", where=str(folder)) from error
        return self._models[pair], self._pieces[pair]


class _Pieces:
    """A model's tokenizer."""

    def __init__(self, folder: Path) -> None:
        config = _config(folder)
        self.unknown = str(config.get("unk_token", "<unk>"))
        self._end = str(config.get("eos_token", "</s>"))
        # Models converted from Marian's own files get their end mark from the library, those from others do not.
        self._ended = bool(config.get("add_source_eos", False))
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
        """Pieces with one end mark, be it here or by the library."""
        fast = self._fast is not None
        pieces = list(self._fast.encode(text).tokens) if fast else list(self._source.encode(text, out_type=str))
        if pieces and pieces[-1] == self._end:
            pieces.pop()
        return pieces if self._ended else [*pieces, self._end]

    def join(self, pieces: Sequence[str]) -> str:
        """The text of pieces."""
        if self._fast is not None:
            ids = [self._fast.token_to_id(piece) for piece in pieces]
            return str(self._fast.decode([i for i in ids if i is not None]))
        return str(self._target.decode([piece for piece in pieces if piece != self._end]))


def _config(folder: Path) -> dict[str, Any]:
    """What the converter noted; older ones noted nothing."""
    file = folder / "config.json"
    if not file.is_file():
        return {}
    try:
        return dict(orjson.loads(file.read_bytes()))
    except (orjson.JSONDecodeError, TypeError, ValueError) as error:
        raise ModelFileError(f"is no JSON object: {error}", where=str(file)) from error
