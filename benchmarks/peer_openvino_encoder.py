"""OpenVINO's side of `bench_texts.py`: `peer_openvino_encoder.py FOLDER THREADS PLACE SAMPLES`, in `.bench/embeddings`.

int8 of weights and activations, as its NNCF makes it into PLACE the first time from the texts in SAMPLES (JSON).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import openvino
from texts_side import Floats, make_vectors, mean_vectors, open_backend, padded  # beside this file

_SAMPLES_AT_ONCE = 8


def converted(folder: str, place: Path, samples: Path) -> Path:
    """The int8 model."""
    made = place / "int8.xml"
    if not made.is_file():
        import nncf
        import torch
        import transformers

        place.mkdir(parents=True, exist_ok=True)
        model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        one = torch.ones(2, 8, dtype=torch.int64)
        sample = {"input_ids": one, "attention_mask": one, "token_type_ids": one * 0}
        plain = openvino.convert_model(model, example_input=sample)
        backend, texts = open_backend(folder), json.loads(samples.read_text())
        batches = [texts[i : i + _SAMPLES_AT_ONCE] for i in range(0, len(texts), _SAMPLES_AT_ONCE)]
        rows = nncf.Dataset(batches, lambda batch: given(*padded([r.ids for r in backend.encode_batch(batch)], 0)))
        openvino.save_model(
            nncf.quantize(plain, rows, model_type=nncf.ModelType.TRANSFORMER), made, compress_to_fp16=False
        )
    return made


def given(ids: Any, mask: Any) -> dict[str, Any]:
    """The model's inputs."""
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}


def main() -> None:
    """Answer until nobody asks for more."""
    folder, threads = sys.argv[1], int(sys.argv[2])
    file = converted(folder, Path(sys.argv[3]), Path(sys.argv[4]))
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    model, backend = openvino.Core().compile_model(file, "CPU", options), open_backend(folder)

    def embed(texts: list[str]) -> Floats:
        ids, mask = padded([row.ids for row in backend.encode_batch_fast(texts)], 0)
        return mean_vectors(model(given(ids, mask))[0], mask)

    make_vectors(embed)


if __name__ == "__main__":
    main()
