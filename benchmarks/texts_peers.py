"""The peers of `bench_texts.py`: what they are called, where they live, and how they are opened."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from machine import python_in, version_in  # beside this file
from sides import Side
from texts_work import PLACE, marian, minilm, texts

HERE = Path(__file__).resolve().parent
_SAMPLES = 128  # texts that a peer learns its ranges from; none of them is measured


@dataclass(frozen=True, slots=True)
class Peer:
    """``more``: what its script wants after folder and threads."""

    words: str
    package: str
    script: str
    more: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Of its environment, in .bench."""
        return {"peer_ctranslate2_writer": "ctranslate2", "peer_marian": "transformers"}.get(self.script, "embeddings")

    @property
    def versions(self) -> dict[str, str]:
        """Of its package."""
        return version_in(self.place, self.package)


_ST, _ST_SCRIPT = "sentence-transformers", "peer_sentence_transformers"
_FILES = (str(PLACE / "minilm-openvino"), str(PLACE / "samples.json"))
#: By row and by the word on the command line.
PEERS = {
    "embed": {
        "st-bf16": Peer("sentence-transformers, bfloat16", _ST, _ST_SCRIPT, ("bfloat16",)),
        "st-f32": Peer("sentence-transformers, float32", _ST, _ST_SCRIPT, ("float32",)),
        "onnxruntime": Peer("ONNX Runtime, int8", "onnxruntime", "peer_onnxruntime", (str(PLACE / "minilm-onnx"),)),
        "openvino": Peer("OpenVINO, int8", "openvino", "peer_openvino_encoder", _FILES),
    },
    "translate": {
        "ctranslate2": Peer("CTranslate2, int8", "ctranslate2", "peer_ctranslate2_writer"),
        "transformers-bf16": Peer("transformers generate, bf16", "transformers", "peer_marian", ("bfloat16",)),
        "transformers-f32": Peer("transformers generate, float32", "transformers", "peer_marian", ("float32",)),
    },
}
#: Whose answers those of all others are held against.
WHOLE = {"embed": "st-f32", "translate": "transformers-f32"}


def folder_of(row: str) -> Path:
    """The model that all sides of a row read."""
    return minilm() if row == "embed" else marian()


def open_peer(row: str, name: str, threads: int) -> Side:
    """A peer, as a process."""
    samples = PLACE / "samples.json"
    if row == "embed" and not samples.is_file():
        PLACE.mkdir(parents=True, exist_ok=True)
        half = _SAMPLES // 2
        samples.write_text(json.dumps(texts(range(12, 21), half, skip=1024) + texts(range(112, 145), half, skip=1024)))
    peer = PEERS[row][name]
    command = [python_in(peer.place), str(HERE / f"{peer.script}.py"), str(folder_of(row)), str(threads), *peer.more]
    return Side(command, threads)


def open_ours(row: str, threads: int) -> Side:
    """Our side."""
    return Side([sys.executable, str(HERE / "texts_ours.py"), str(folder_of(row))], threads)
