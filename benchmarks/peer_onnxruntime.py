"""ONNX Runtime's side of `bench_texts.py`: `peer_onnxruntime.py FOLDER THREADS PLACE`, in `.bench/embeddings`.

int8 as its own tools make it, into PLACE the first time: its fusion for BERT, then dynamic quantisation of every
product (activations uint8; weights int8 where the processor has VNNI, else uint8).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnxruntime
from texts_side import Floats, make_vectors, mean_vectors, open_backend, padded  # beside this file


def converted(folder: str, place: Path) -> Path:
    """The int8 file."""
    made = place / "int8.onnx"
    if not made.is_file():
        import onnx
        import torch
        import transformers
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.transformers.optimizer import optimize_model

        place.mkdir(parents=True, exist_ok=True)
        model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        plain, fused = place / "plain.onnx", place / "fused.onnx"
        sample = torch.ones(2, 8, dtype=torch.int64)

        class Named(torch.nn.Module):
            """The model, whose inputs the exporter gives by place."""

            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, ids: Any, mask: Any, kinds: Any) -> Any:
                return self.model(input_ids=ids, attention_mask=mask, token_type_ids=kinds).last_hidden_state

        torch.onnx.export(
            Named().eval(),
            (sample, sample, torch.zeros_like(sample)),
            str(plain),
            input_names=["ids", "mask", "kinds"],
            output_names=["hidden"],
            dynamic_axes={name: {0: "n", 1: "t"} for name in ("ids", "mask", "kinds", "hidden")},
            opset_version=17,
            dynamo=False,
        )
        heads, width = model.config.num_attention_heads, model.config.hidden_size
        optimize_model(str(plain), model_type="bert", num_heads=heads, hidden_size=width).save_model_to_file(str(fused))
        vnni = "avx512_vnni" in Path("/proc/cpuinfo").read_text()
        staged = made.with_suffix(".part")
        quantize_dynamic(
            str(fused),
            str(staged),
            weight_type=QuantType.QInt8 if vnni else QuantType.QUInt8,
            extra_options={
                "DefaultTensorType": onnx.TensorProto.FLOAT
            },  # what fused operations give, which nobody says
        )
        staged.rename(made)
    return made


def open_session(file: Path, threads: int) -> Any:
    """The model, with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Answer until nobody asks for more."""
    folder, threads, place = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    session, backend = open_session(converted(folder, place), threads), open_backend(folder)
    names = {given.name for given in session.get_inputs()}

    def embed(texts: list[str]) -> Floats:
        ids, mask = padded([row.ids for row in backend.encode_batch_fast(texts)], 0)
        given = {"ids": ids, "mask": mask, "kinds": ids * 0}
        (hidden,) = session.run(["hidden"], {name: given[name] for name in names})
        return mean_vectors(hidden, mask)

    make_vectors(embed)


if __name__ == "__main__":
    main()
