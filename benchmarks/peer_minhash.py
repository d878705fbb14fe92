"""datatrove's four MinHash stages, as its examples/fineweb.py has them: run by its own interpreter, `.bench/datatrove`.

    peer_minhash.py FOLDER WORK WORKERS

FOLDER holds Parquet files (id, text), as many as there are workers: datatrove does not split a file. Prints one JSON
object: seconds, seconds by stage, ids that were dropped.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.hashing import HashConfig


def main(folder: str, work: str, workers: int) -> None:
    """Run the stages one after another, as its documentation wants them."""
    config = MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5)
    files = len(list(Path(folder).glob("*.parquet")))
    stages = {
        "signatures": (files, [ParquetReader(folder), MinhashDedupSignature(f"{work}/signatures", config)]),
        "buckets": (14, [MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)]),
        "cluster": (1, [MinhashDedupCluster(f"{work}/buckets", f"{work}/removed", config=config)]),
        "filter": (
            files,
            [ParquetReader(folder), MinhashDedupFilter(f"{work}/removed"), ParquetWriter(f"{work}/kept")],
        ),
    }
    begin, times = time.perf_counter(), {}
    for name, (tasks, pipeline) in stages.items():
        start = time.perf_counter()
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=f"{work}/logs/{name}"
        ).run()
        times[name] = time.perf_counter() - start
    seconds = time.perf_counter() - begin
    every, kept = (ids(Path(place)) for place in (folder, f"{work}/kept"))
    sys.stdout.write(json.dumps({"seconds": seconds, "stages": times, "dropped": sorted(every - kept)}) + "\n")


def ids(folder: Path) -> set[str]:
    """The ids in a folder of Parquet files."""
    return {i for file in folder.glob("*.parquet") for i in pq.read_table(file, columns=["id"])["id"].to_pylist()}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
