from __future__ import annotations

import json

from lamina.kit.log import MetricsWriter, read_metrics


def test_one_object_a_line(tmp_path):
    path = tmp_path / "runs" / "metrics.jsonl"
    metrics = MetricsWriter(path)
    metrics.write(1, loss_nats=2.5, tokens_per_s=100)
    metrics.write(2, loss_nats=float("nan"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"step": 1, "loss_nats": 2.5, "tokens_per_s": 100}, {"step": 2, "loss_nats": None}]


def test_truncate_after_forgets_later_steps_only(tmp_path):
    metrics = MetricsWriter(tmp_path / "m.jsonl")
    for step in range(10):
        metrics.write(step, loss_nats=1.0)
    metrics.truncate_after(4)
    metrics.write(5, loss_nats=2.0)
    assert [row["step"] for row in read_metrics(metrics.path)] == [0, 1, 2, 3, 4, 5]


def test_a_line_cut_by_a_kill_spoils_no_other(tmp_path):
    metrics = MetricsWriter(tmp_path / "m.jsonl")
    metrics.write(1, loss_nats=1.0)
    with metrics.path.open("ab") as file:
        file.write(b'{"step": 2, "lo')
    metrics.write(3, loss_nats=3.0)
    assert [row["step"] for row in read_metrics(metrics.path)] == [1, 3]
    metrics.truncate_after(3)
    assert len(metrics.path.read_text().splitlines()) == 2


def test_truncate_of_nothing(tmp_path):
    metrics = MetricsWriter(tmp_path / "m.jsonl")
    metrics.truncate_after(3)
    assert list(read_metrics(metrics.path)) == []
