"""Apertium, the rule-based translator, as processes that stay: a pipeline a direction, texts in and out.

Apertium's programs are run as they are (GPL, nothing is linked). Its own script starts a pipeline anew for each text,
which takes a tenth of a second; here the programs of the direction's mode file are connected once, in null-flush mode.
Forcada et al. 2011, "Apertium: a free/open-source platform for rule-based machine translation", Machine Translation 25.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lamina.data.augment.protect import protected_spans
from lamina.data.augment.tags import primary
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.process import how_it_ended

_DATA = Path("/usr/share/apertium")
_PROGRAM = re.compile(r"(?:apertium|lt|lrx|cg|hfst|rtx|lsx)-[a-z-]+")
_RESERVED = re.compile(r"([\[\]{}^$/\\@<>])")
_ESCAPED = re.compile(r"\\(.)", re.S)
_FLUSH = "[][\n]"  # the pipeline holds a word back until it has seen a blank
_CODES = {
    **{"eng": "en", "spa": "es", "cat": "ca", "glg": "gl", "por": "pt", "fra": "fr", "ita": "it", "deu": "de"},
    **{"epo": "eo", "oci": "oc", "arg": "an", "ast": "ast", "ron": "ro", "srd": "sc", "mkd": "mk", "bul": "bg"},
    **{"isl": "is", "swe": "sv", "dan": "da", "nob": "nb", "nno": "nn", "hbs": "sh", "slv": "sl", "rus": "ru"},
    **{"ukr": "uk", "bel": "be", "pol": "pl", "ces": "cs", "cym": "cy", "bre": "br", "eus": "eu", "urd": "ur"},
    **{"hin": "hi", "mlt": "mt", "ara": "ar", "heb": "he", "ind": "id", "zlm": "ms", "afr": "af", "nld": "nl"},
    **{"kaz": "kk", "tat": "tt", "crh": "crh", "tur": "tr", "kir": "ky", "sme": "se", "fin": "fi"},
}


class Apertium:
    """A ``contracts.inference.Translator``. Use as a context manager, or ``close`` it; processes die with this one
    anyway, since their input then ends. ``patience_s``: how long a text may take without any output.
    """

    def __init__(self, data: Path = _DATA, *, patience_s: float = 60.0) -> None:
        self._modes: dict[tuple[str, str], Path] = {}
        for file in sorted((data / "modes").glob("*.mode")):
            parts = file.stem.split("-")
            if len(parts) == 2 and "_" not in file.stem:
                self._modes[_CODES.get(parts[0], parts[0]), _CODES.get(parts[1], parts[1])] = file
        if not self._modes or shutil.which("lt-proc") is None:
            raise ConfigError(
                "Apertium is not installed, or no pair of languages",
                hint="as root: apt-get install --no-install-recommends apertium apertium-eng-spa",
            )
        self._patience_s = patience_s
        self._pipelines: dict[tuple[str, str], _Pipeline] = {}

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The directions that are installed, as (source, target)."""
        return tuple(sorted(self._modes))

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """One translation a text; line breaks and protected spans go through untouched. A text on which the programs
        fail comes back empty. Raises ``InputError`` for a pair that is not installed.
        """
        pair = (primary(source), primary(target))
        if pair not in self._modes:
            known = ", ".join(f"{a}-{b}" for a, b in self.pairs)
            raise InputError(f"Apertium has no pair {pair[0]}-{pair[1]} here", hint=f"installed: {known}")
        try:
            return self._pipeline(pair).ask(texts)
        except _BrokenError:
            self._drop(pair)
        answers: list[str] = []
        for text in texts:  # one of them breaks it: each alone
            try:
                answers += self._pipeline(pair).ask([text])
            except _BrokenError:
                self._drop(pair)
                answers.append("")
        return answers

    def reseed(self, seed: int) -> None:
        """Rules leave nothing to chance."""

    def close(self) -> None:
        """End the programs."""
        for pair in list(self._pipelines):
            self._drop(pair)

    def __enter__(self) -> Apertium:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pipeline(self, pair: tuple[str, str]) -> _Pipeline:
        if pair not in self._pipelines:
            self._pipelines[pair] = _Pipeline(read_mode(self._modes[pair]), self._patience_s)
        return self._pipelines[pair]

    def _drop(self, pair: tuple[str, str]) -> None:
        pipeline = self._pipelines.pop(pair, None)
        if pipeline:
            pipeline.end()


def read_mode(file: Path) -> list[list[str]]:
    """The programs of a mode file with their arguments: unknown words unmarked, flushing at null characters.

    Mode files are lines for a shell; none is used here, so that anything but a plain pipeline is refused.
    """
    stages: list[list[str]] = [[]]
    for word in shlex.split(file.read_text(encoding="utf-8")):
        if word == "|":
            stages.append([])
        elif word == "$1":
            stages[-1].append("-n")
        elif word != "$2":
            stages[-1].append(word)
    for stage in stages:
        if not stage or not _PROGRAM.fullmatch(Path(stage[0]).name) or any(c in w for w in stage for c in ";&`>"):
            raise ConfigError("this mode is no plain pipeline of Apertium's programs", where=str(file))
    return [[stage[0], "-z", *(word for word in stage[1:] if word != "-z")] for stage in stages]


class _BrokenError(Exception):
    """The pipeline ended, or says nothing any more."""


class _Pipeline:
    """Connected programs."""

    def __init__(self, stages: Sequence[Sequence[str]], patience_s: float) -> None:
        self._patience_s = patience_s
        self._programs: list[subprocess.Popen[bytes]] = []
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        for stage in stages:
            before = self._programs[-1].stdout if self._programs else subprocess.PIPE
            program = subprocess.Popen(
                stage, stdin=before, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
            if self._programs and self._programs[-1].stdout:
                self._programs[-1].stdout.close()
            self._programs.append(program)

    def ask(self, texts: Sequence[str]) -> list[str]:
        sender = threading.Thread(target=self._send, args=([to_stream(text) for text in texts],), daemon=True)
        sender.start()
        waiting = b""
        answers: list[str] = []
        while len(answers) < len(texts):
            waiting += self._read()
            *whole, waiting = waiting.split(b"\0")
            answers.extend(from_stream(piece.decode("utf-8", "replace")) for piece in whole)
        sender.join()
        # Programs that end pass on empty answers.
        lost = any(text.strip() and not answer.strip() for text, answer in zip(texts, answers, strict=False))
        if len(answers) != len(texts) or waiting or lost:
            raise _BrokenError
        return answers

    def end(self) -> None:
        for program in self._programs:
            program.kill()
        for program in self._programs:
            program.wait()
        for stream in (self._programs[0].stdin, self._programs[-1].stdout):
            if stream:
                with suppress(OSError):
                    stream.close()

    def _send(self, pieces: Sequence[str]) -> None:
        stdin = self._programs[0].stdin
        with suppress(OSError, ValueError):  # the reader sees the end, too
            for piece in pieces:
                if stdin:
                    stdin.write(piece.encode() + b"\0")
            if stdin:
                stdin.flush()

    def _read(self) -> bytes:
        out = self._programs[-1].stdout
        assert out is not None
        deadline = time.monotonic() + self._patience_s
        while True:
            ready, _, _ = select.select([out], [], [], 0.5)
            if ready:
                data = os.read(out.fileno(), 1 << 16)
                if data:
                    return data
            status = next((s for s in (p.poll() for p in self._programs) if s is not None), None)
            if ready or status is not None or time.monotonic() > deadline:
                raise _BrokenError(how_it_ended(status or 0))


def to_stream(text: str) -> str:
    """A text in Apertium's stream format: what must stay is a superblank, what the format reserves is escaped."""
    text = text.replace("\0", "")
    out: list[str] = []
    at = 0
    kept = sorted([*protected_spans(text), *(m.span() for m in re.finditer(r"\s*[\r\n]\s*|~+", text))])
    for begin, end in kept:
        if begin < at:
            continue
        out += (_escape(text[at:begin]), "[", _escape(text[begin:end]), "]")
        at = end
    return "".join([*out, _escape(text[at:]), _FLUSH])


def from_stream(text: str) -> str:
    """The text that a stream stands for."""
    text = text.removesuffix(_FLUSH)
    out: list[str] = []
    for part in re.split(r"((?:\\.)|[\[\]])", text, flags=re.S):
        if part not in ("[", "]"):
            out.append(_ESCAPED.sub(r"\1", part))
    return "".join(out)


def _escape(text: str) -> str:
    return _RESERVED.sub(r"\\\1", text)
