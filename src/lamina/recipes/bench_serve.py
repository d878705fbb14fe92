"""``lamina bench serve``: load on the stack's own server, or on another OpenAI-compatible one, in an open loop."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lamina.kit.config import seconds
from lamina.kit.errors import BusyError, FetchError, InputError, LaminaError, NotFoundError, RefusedError
from lamina.kit.progress import Progress, open_progress
from lamina.recipes.bench_page import Run, told, write_results
from lamina.recipes.stack import Stack, open_stack

if TYPE_CHECKING:
    from lamina.deployment.load.client import Asked, Target
    from lamina.deployment.load.outcome import Outcome
    from lamina.deployment.load.work import Synthetic

KEY = "LAMINA_API_KEY"
_LONGEST_S = 3600.0
_FASTEST = 10_000.0  # requests a second
_CONNECTIONS = 4096  # open at once
_CLIENTS = 32  # that ask again and again, to find out what the server can do
_SHARES = (0.25, 0.5, 0.75, 0.9, 1.1)  # of that: the rates of a sweep
_SINGLE = 5  # requests one after another
_WORDS = (32, 160)  # of the two requests that tell how many tokens a word has


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line says. Lengths in tokens: see ``deployment.load.arrivals.Lengths``."""

    url: str | None = None  # None: the stack's own server
    model: str | None = None
    rates: tuple[float, ...] = ()  # requests a second; none: a sweep
    duration: str = "30s"  # of each rate
    requests: int = 10_000  # of each rate, at most
    prompt_tokens: str = "256"
    answer_tokens: str = "128"
    file: Path | None = None  # requests instead of made ones
    slo: str = "ttft=1s,itl=100ms"
    timeout: str = "120s"
    seed: int = 0
    remote: bool = False  # whether the server may be on another machine
    out: Path | None = None


def bench_serve(settings: Settings, *, file: Path, assignments: Sequence[str], json: bool) -> Any:
    """Measure; the figures as text, or as JSON. What was measured lies in a folder of its own.

    Raises ``InputError`` for settings that cannot be, ``RefusedError`` for another machine without ``remote``,
    ``FetchError`` where nothing answers.
    """
    progress = open_progress("json" if json else "auto")
    with ExitStack() as stays:
        stack = open_stack(file, assignments) if settings.url is None else None
        url = settings.url or _own_address(_opened(stack), assignments, stays, progress)
        load = _Load(settings, url, own=stack is not None)
        runs = asyncio.run(load.measure(progress))
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = settings.out or (Path("lamina-bench") if stack is None else stack.state / "bench") / name
    facts = {**_plain(asdict(settings)), "url": url, "model": load.model, "capacity_per_s": load.capacity}
    figures = {"settings": facts, "runs": [run.figures for run in runs], "folder": str(folder)}
    write_results(folder, figures, runs)
    return figures if json else told(figures)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def _opened(stack: Stack | None) -> Stack:
    assert stack is not None
    return stack


def _own_address(stack: Stack, assignments: Sequence[str], stays: ExitStack, progress: Progress) -> str:
    """Where the stack's server answers; it is started for the measurement where nothing does."""
    from lamina.recipes.bench_server import own_server

    host = "127.0.0.1" if stack.interface.host in ("0.0.0.0", "::") else stack.interface.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{stack.interface.port}"
    try:
        socket.create_connection((host, stack.interface.port), timeout=5.0).close()
    except OSError:
        progress.say(f"no server at {url}: one is started for the measurement, on a copy of the database")
        stays.enter_context(own_server(stack, assignments, url))
        return url
    progress.say(f"measuring the server at {url}; it stores what it answers")
    return url


class _Load:
    """The measurement of one server."""

    def __init__(self, settings: Settings, url: str, *, own: bool) -> None:
        from lamina.deployment.load.arrivals import Lengths
        from lamina.deployment.load.client import Target
        from lamina.deployment.load.objective import Objective
        from lamina.deployment.load.work import Synthetic, read_requests

        self._settings = settings
        self._seconds = _bounded(seconds(settings.duration, where="--duration"), _LONGEST_S, "--duration")
        self._timeout = _bounded(seconds(settings.timeout, where="--timeout"), _LONGEST_S, "--timeout")
        self._rates = [_bounded(rate, _FASTEST, "--rate") for rate in settings.rates]
        self._most = int(_bounded(settings.requests, 1e6, "--requests"))
        self._objective = Objective.read(settings.slo, where="--slo")
        prompt = Lengths.read(settings.prompt_tokens, where="--prompt-tokens")
        answer = Lengths.read(settings.answer_tokens, where="--answer-tokens")
        self.target: Target = Target(url, os.environ.get(KEY))
        _check_place(self.target.host, self.target.port, remote=settings.remote)
        self.model = _model(self.target, settings.model)
        self.capacity: float | None = None
        self._file: list[Asked] | None = None
        if settings.file is not None:
            self._file = read_requests(settings.file, model=self.model)
        extra = {"grounding": "weights only", "conversation": str(uuid4())} if own else {}
        self._made: Synthetic = Synthetic(
            prompt=prompt, answer=answer, model=self.model, seed=settings.seed, extra=extra
        )

    async def measure(self, progress: Progress) -> list[Run]:
        """The rates that were asked for; or one request at a time, as many as the server can do, and shares of that."""
        if self._file is None:
            self._made = await self._calibrated()
        if self._rates:
            return [await self._open(rate, number, progress) for number, rate in enumerate(self._rates)]
        single = await self._closed(1, 1001, progress, most=_SINGLE)
        crowd = await self._closed(_CLIENTS, 1002, progress, most=self._most)
        self.capacity = crowd.figures["completed_per_s"]
        if not self.capacity:
            first = next((o for o in crowd.outcomes if o.error), None)
            why = f"{first.error} {first.said}".strip() if first else f"none ended within {self._seconds:g} s"
            raise LaminaError(f"the server completed no request: {why}", where=self.target.url)
        swept = [await self._open(share * self.capacity, n, progress) for n, share in enumerate(_SHARES)]
        return [single, crowd, *swept]

    async def _calibrated(self) -> Synthetic:
        """The made requests with the tokens of a word, and of the frame around a chat, as the server counts them."""
        import numpy as np

        from lamina.deployment.load.generator import open_loop

        generator = np.random.default_rng([self._settings.seed, 999])
        asked = [self._made.asked(words, 1, generator) for words in _WORDS]
        found = await open_loop(self.target, asked, [0.0, 0.0], timeout_s=self._timeout, most=1)
        for outcome in found:
            if outcome.error is not None:
                why = f"{outcome.error} {outcome.said}".strip()
                raise FetchError(f"the first request failed: {why}", where=self.target.url)
        few, many = (outcome.prompt_tokens for outcome in found)
        if few is None or many is None or many <= few:
            return self._made
        slope = (many - few) / (_WORDS[1] - _WORDS[0])
        return replace(self._made, per_word=slope, frame=max(0.0, few - slope * _WORDS[0]))

    def _source(self, stream: int) -> Iterator[Asked]:
        from lamina.deployment.load.work import drawn

        if self._file is not None:
            return drawn(self._file, self._settings.seed, stream)
        return self._made.requests(stream)

    async def _open(self, rate: float, stream: int, progress: Progress) -> Run:
        """Poisson arrivals of ``rate`` a second."""
        import numpy as np

        from lamina.deployment.load.arrivals import poisson
        from lamina.deployment.load.generator import open_loop

        generator = np.random.default_rng([self._settings.seed, stream, 7])
        times = poisson(rate, self._seconds, generator, most=self._most) or [0.0]
        # Where the number ends it, the time does too: rates are those of the stretch in which requests came.
        span = times[-1] if len(times) == self._most else self._seconds
        source = self._source(stream)
        asked = [next(source) for _ in times]
        with progress.task(f"{rate:.3g} requests/s", total=len(times), unit="requests") as task:
            told = _Telling(task.advance)
            outcomes = await open_loop(self.target, asked, times, timeout_s=self._timeout, most=_CONNECTIONS, told=told)
        return self._run(outcomes, span or self._seconds, rate=rate)

    async def _closed(self, clients: int, stream: int, progress: Progress, *, most: int) -> Run:
        from lamina.deployment.load.generator import closed_loop

        name = "one at a time" if clients == 1 else f"{clients} clients at once"
        with progress.task(name, total=most if clients == 1 else None, unit="requests") as task:
            outcomes = await closed_loop(
                self.target,
                self._source(stream),
                clients=clients,
                seconds=self._seconds,
                most=most,
                timeout_s=self._timeout,
                told=_Telling(task.advance),
            )
        span = min(self._seconds, max((o.ended for o in outcomes), default=self._seconds))
        return self._run(outcomes, span, clients=clients)

    def _run(
        self, outcomes: list[Outcome], span: float, *, rate: float | None = None, clients: int | None = None
    ) -> Run:
        from lamina.deployment.load.summary import summarize

        figures = summarize(outcomes, seconds=span, objective=self._objective)
        figures = {"rate": rate, "clients": clients, **figures}
        return Run(rate=rate, clients=clients, seconds=span, outcomes=outcomes, figures=figures)


class _Telling:
    """Each answer moves the progress on."""

    def __init__(self, advance: Any) -> None:
        self._advance, self._failed = advance, 0

    def __call__(self, outcome: Outcome) -> None:
        self._failed += outcome.error is not None
        facts: dict[str, Any] = {"not_answered": self._failed} if self._failed else {}
        if outcome.ttft is not None:
            facts["first_token_ms"] = round(1000 * outcome.ttft)
        self._advance(1, **facts)


def _bounded(value: float, most: float, where: str) -> float:
    if not 0 < value <= most:
        raise InputError(f"must be above 0 and at most {most:g}, not {value:g}", where=where)
    return value


def _check_place(host: str, port: int, *, remote: bool) -> None:
    """Load is put on this machine only, unless somebody says otherwise."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise FetchError(f"'{host}' has no address", where=host) from error
    away = [each[4][0] for each in found if not ipaddress.ip_address(str(each[4][0]).split("%")[0]).is_loopback]
    if away and not remote:
        raise RefusedError(f"'{host}' ({away[0]}) is another machine", hint="--remote says that you may put load on it")


def _model(target: Target, asked: str | None) -> str:
    """The model that requests name: as asked for, a champion, else the first that the server lists."""
    import httpx

    headers = {"authorization": f"Bearer {target.key}"} if target.key else {}
    scheme = "https" if target.secure else "http"
    host = f"[{target.host}]" if ":" in target.host else target.host
    try:
        answer = httpx.get(
            f"{scheme}://{host}:{target.port}{target.path}/models", headers=headers, timeout=30.0, trust_env=False
        )
    except httpx.TransportError as error:
        raise FetchError(f"nothing answers ({error})", where=target.url) from error
    if answer.status_code in (401, 403):
        raise RefusedError(f"the server wants a key ({answer.status_code})", where=target.url, hint=f"{KEY}=lsk_…")
    if answer.status_code == 503:
        raise BusyError("the server is not ready", where=target.url)
    try:
        listed = [str(model["id"]) for model in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        listed = []
    if asked is not None:
        return asked
    if "champion" in listed:
        return "champion"
    if not listed:
        raise NotFoundError("the server lists no model", where=target.url, hint="--model names one")
    return listed[0]
