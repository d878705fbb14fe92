"""Units of work on a Ray cluster (extra ``scale``), through Ray Data, which holds back what the cluster cannot take.

The functions and their payloads are those of worker processes. All nodes must see the state folder under one path (one
file system). Ray moves its own objects by pickle: the cluster belongs to the team, and is never exposed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import orjson

from lamina.kit.errors import require, restored, told
from lamina.kit.workers import WORKER, resolve


class OnRay:
    """Ray Data over the cluster that ``RAY_ADDRESS`` names, or one that is started on this machine."""

    def __init__(self, workers: int | None = None) -> None:
        require("ray.data", extra="scale", why="to clean documents on a Ray cluster")
        self._workers = workers
        self._own = False

    def map(self, function: str, payloads: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        """The values as they come; an error of a unit is raised as itself."""
        import ray.data

        if not payloads:
            return
        items = [{"function": function, "payload": orjson.dumps(payload)} for payload in payloads]
        units = ray.data.from_items(items, override_num_blocks=len(items))
        for row in units.map(run, num_cpus=1).iter_rows():
            value = orjson.loads(row["value"])
            if "types" in value:
                raise restored(value)
            yield value["value"]

    def __enter__(self) -> OnRay:
        import ray

        if not ray.is_initialized():
            ray.init(
                num_cpus=self._workers, log_to_driver=False, include_dashboard=False, logging_level=logging.WARNING
            )
            self._own = True
        ray.data.DataContext.get_current().enable_progress_bars = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own:
            import ray

            ray.shutdown()


def run(row: Mapping[str, Any]) -> dict[str, bytes]:
    """One unit, in a task of Ray."""
    os.environ[WORKER] = "1"
    try:
        value: dict[str, Any] = {"value": resolve(row["function"])(orjson.loads(row["payload"]))}
    except Exception as error:
        value = told(error)
    return {"value": orjson.dumps(value)}
