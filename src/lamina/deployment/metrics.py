"""What the engine does, as Prometheus metrics with vLLM's suffixes, in the registry that the server exposes."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from lamina.deployment.engine.observer import Load

_FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_NEXT = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5)
_WHOLE = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_LABELS = ("model_name",)


class ServingMetrics:
    """The service's metrics; ``loads`` gives the loads of the engines that are up, by version."""

    def __init__(self, registry: CollectorRegistry, loads: Callable[[], dict[str, Load]]) -> None:
        def gauge(name: str, text: str, value: Callable[[list[Load]], float]) -> None:
            made = Gauge(f"lamina:{name}", text, registry=registry)
            made.set_function(lambda: value(list(loads().values())))

        gauge("num_requests_running", "Requests in the engine's batch.", lambda all: sum(e.running for e in all))
        gauge("num_requests_waiting", "Requests that wait for a place.", lambda all: sum(e.waiting for e in all))
        gauge(
            "kv_cache_usage_perc",
            "Share of the key-value blocks in use, 0 to 1.",
            lambda all: max((e.cache_usage for e in all), default=0.0),
        )
        self.prompt_tokens = Counter("lamina:prompt_tokens", "Prompt tokens computed.", _LABELS, registry=registry)
        self.generated = Counter("lamina:generation_tokens", "Tokens generated.", _LABELS, registry=registry)
        self.success = Counter(
            "lamina:request_success", "Requests that ended.", (*_LABELS, "finished_reason"), registry=registry
        )
        self.first = Histogram(
            "lamina:time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            _LABELS,
            buckets=_FIRST,
            registry=registry,
        )
        self.next = Histogram(
            "lamina:inter_token_latency_seconds",
            "Between two tokens of an answer.",
            _LABELS,
            buckets=_NEXT,
            registry=registry,
        )
        self.whole = Histogram(
            "lamina:e2e_request_latency_seconds",
            "From a request's arrival to its end.",
            _LABELS,
            buckets=_WHOLE,
            registry=registry,
        )
        self.loads = Counter(
            "lamina:model_loads", "Versions loaded, and those that could not be.", ("outcome",), registry=registry
        )

    def observer(self, version: str) -> EngineMetrics:
        """What the engine of ``version`` reports to."""
        return EngineMetrics(self, version)


class EngineMetrics:
    """``engine.Observer``: one engine's share of the metrics."""

    def __init__(self, metrics: ServingMetrics, version: str) -> None:
        self._prompt = metrics.prompt_tokens.labels(version)
        self._generated = metrics.generated.labels(version)
        self._first = metrics.first.labels(version)
        self._next = metrics.next.labels(version)
        self._whole = metrics.whole.labels(version)
        self._success = metrics.success
        self._version = version

    def first_token(self, seconds: float, prompt_tokens: int) -> None:
        """A request got its first token."""
        self._prompt.inc(prompt_tokens)
        self._generated.inc()
        self._first.observe(seconds)

    def next_token(self, seconds: float) -> None:
        """A request got a further token."""
        self._generated.inc()
        self._next.observe(seconds)

    def texts(self, seconds: float, prompt_tokens: int, generated: int) -> None:
        """A request for whole texts ended."""
        self._prompt.inc(prompt_tokens)
        self._generated.inc(generated)
        self.finished("stop", seconds, generated)

    def finished(self, reason: str, seconds: float, generated: int) -> None:
        """A request ended."""
        self._success.labels(self._version, reason).inc()
        self._whole.observe(seconds)
