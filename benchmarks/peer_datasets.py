"""Hugging Face's datasets tokenizes a Parquet file: `peer_datasets.py FILE TOKENIZER FOLDER PROCESSES`.

Prints a JSON object: seconds of `map`, tokens, version.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import datasets
import pyarrow.compute as pc
from tokenizers import Tokenizer


def main(file: str, tokenizer: str, folder: str, processes: int) -> None:
    """Map over batches of 1,000 pages."""
    backend = Tokenizer.from_file(tokenizer)
    backend.no_truncation()
    backend.no_padding()

    def encode(batch: dict[str, Any]) -> dict[str, Any]:
        return {"input_ids": [e.ids for e in backend.encode_batch_fast(batch["text"], add_special_tokens=False)]}

    pages = datasets.Dataset.from_parquet(file, cache_dir=folder, columns=["text"])
    begin = time.perf_counter()
    mapped = pages.map(encode, batched=True, batch_size=1000, num_proc=processes, remove_columns=["text"])
    seconds = time.perf_counter() - begin
    tokens = pc.sum(pc.list_value_length(mapped.data.column("input_ids"))).as_py()
    print(json.dumps({"seconds": seconds, "tokens": tokens, "version": datasets.__version__}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
