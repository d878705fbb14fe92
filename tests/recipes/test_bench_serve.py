"""``lamina bench serve`` against a real API with a stand-in for the model."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lamina.interface.api.app import create_app
from lamina.interface.api.ports import ApiSettings, NoKeys
from lamina.interface.api.server import in_thread
from lamina.kit.errors import ConfigError, FetchError, InputError, NotFoundError, QueueFullError, RefusedError
from lamina.recipes.bench_serve import Settings, bench_serve
from lamina.testing import EchoService, stand_ins


@pytest.fixture(scope="module")
def service() -> EchoService:
    return EchoService(delay=0.002)


@pytest.fixture(scope="module")
def url(service) -> Iterator[str]:
    app = create_app(
        **stand_ins(
            service=service,
            keys=NoKeys(),
            settings=ApiSettings(name="pequod", grounding="weights only"),
        )
    )
    with in_thread(app) as address:
        yield address


def measured(tmp_path, url: str | None, **settings) -> dict:
    given = {"duration": "1s", "prompt_tokens": "20", "answer_tokens": "4", "out": tmp_path / "out"} | settings
    return bench_serve(Settings(url=url, **given), file=tmp_path / "lamina.toml", assignments=[], json=True)


def test_a_rate_is_measured_and_everything_is_written_down(tmp_path, url, service) -> None:
    service.requests.clear()
    figures = measured(tmp_path, url, rates=(30.0,), slo="e2e=30s")
    (run,) = figures["runs"]
    assert 12 <= run["requests"] <= 55
    assert run["completed"] == run["good"] == run["requests"]
    assert not run["errors"]
    assert run["completion_tokens"]["p50"] == 4
    assert run["prompt_tokens"]["p50"] == 20  # the stand-in counts words: they were calibrated on it
    assert 0 < run["ttft"]["p50"] <= run["ttft"]["p99"] <= run["e2e"]["max"]
    assert figures["settings"]["model"] == "champion"
    assert len(service.requests) == run["requests"] + 2
    out = tmp_path / "out"
    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(figures))
    lines = [json.loads(line) for line in (out / "requests.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(run["requests"]))
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 2
    assert (out / "percentiles.svg").read_text().startswith("<svg")


def test_without_a_rate_the_rates_follow_from_what_the_server_can_do(tmp_path, url, capsys) -> None:
    text = bench_serve(
        Settings(url=url, duration="0.8s", prompt_tokens="5", answer_tokens="2", out=tmp_path / "out"),
        file=tmp_path / "lamina.toml",
        assignments=[],
        json=False,
    )
    figures = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [run["clients"] for run in figures["runs"]] == [1, 32, None, None, None, None, None]
    rates = [run["rate"] for run in figures["runs"][2:]]
    assert rates == pytest.approx([s * figures["settings"]["capacity_per_s"] for s in (0.25, 0.5, 0.75, 0.9, 1.1)])
    assert "most goodput" in text
    assert "time counts from when a request was due" in text
    assert "32 clients at once: done" in capsys.readouterr().out


def test_what_was_refused_is_told_apart(tmp_path, url, service, monkeypatch) -> None:
    full = QueueFullError("full", hint="ask again")
    full.retry_after = 2.5
    for name, value in (("fail_after", 0), ("error", full)):
        monkeypatch.setattr(service, name, value)
    file = tmp_path / "asked.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "hello"}]}\n')
    figures = measured(tmp_path, url, rates=(20.0,), file=file)
    (run,) = figures["runs"]
    assert run["errors"] == {"429": run["requests"]}
    assert run["retry_after"]["p50"] == pytest.approx(2.5)
    assert run["goodput_per_s"] == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"rates": (0.0,)},
        {"rates": (1e9,)},
        {"duration": "2h"},
        {"duration": "soon"},
        {"requests": 0},
        {"slo": "ttft"},
        {"prompt_tokens": "none"},
        {"url": "nowhere"},
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, url, settings) -> None:
    with pytest.raises((InputError, ConfigError)):
        measured(tmp_path, settings.pop("url", url), **settings)


def test_load_stays_on_this_machine(tmp_path) -> None:
    with pytest.raises(RefusedError, match="another machine"):
        measured(tmp_path, "http://192.0.2.1:8000", rates=(1.0,))


def test_nothing_to_measure(tmp_path) -> None:
    with pytest.raises(FetchError, match="nothing answers"):
        measured(tmp_path, "http://127.0.0.1:1", rates=(1.0,))
    (tmp_path / "lamina.toml").write_text('name = "a"\n[model]\nbase = "preset"\n[interface]\nport = 1\n')
    with pytest.raises(NotFoundError, match="nothing to serve"):
        measured(tmp_path, None, rates=(1.0,))
