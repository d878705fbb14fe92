"""The library for ARM, compiled crosswise and run by qemu, gives the scores that torch gives here.

It stands in for this machine's library: structures go to it as they are, with offsets for addresses.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lamina.deployment.compress.int4 import Int4Linear
from lamina.deployment.compress.int8 import Int8Linear, quantize_rows
from lamina.deployment.compress.quantize import dequantize, quantize
from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native import writer as writer_module
from lamina.deployment.engine.native.encoder import open_native_encoder
from lamina.deployment.engine.native.product import Product
from lamina.deployment.engine.native.writer import open_native_writer
from lamina.deployment.engine.place import Place
from lamina.deployment.engine.runner import Runner
from lamina.model.architectures.bert import bert
from lamina.model.architectures.seq2seq import marian
from lamina.model.computing import PlainComputing
from lamina.model.transformer import Transformer

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
SOURCES = Path(native.__file__).parent
PORTABLE, NEON, DOTPROD = (native.LEVELS.index(name) for name in ("portable", "neon", "neon-dotprod"))
LEVEL, OPEN, STEP, CLOSE, PRODUCT, APPLY, CLOSE_PRODUCT, ENCODER, ENCODE, CLOSE_ENCODER = range(10)
IDS = [5, 3, 60, 7, 7, 41, 0, 12, 80, 33, 2, 19, 54, 23, 8, 9, 71, 70, 69, 1, 44, 6] * 13


class Image:
    """Structures and what they point to, one behind the other, with offsets for addresses."""

    def __init__(self) -> None:
        self.data, self.pointers = bytearray(), list[int]()

    def add(self, content: bytes) -> int:
        self.data += bytes(-len(self.data) % 64)
        self.data += content
        return len(self.data) - len(content)

    def model(self, model: native.Model) -> None:
        self.add(bytes(model))

        def sizes_of(layer: native.Layer) -> dict[str, int]:
            slots = 2 * layer.kv_heads * model.slots
            sizes = dict.fromkeys(("cosines", "sines"), 2 * model.context * layer.head_dim)
            return sizes | {"store": slots * layer.head_dim * layer.stored // 8, "scales": 4 * slots}

        self._layers(model, sizes_of)
        width, words = model.width, model.vocabulary
        sizes = {"table": words * width, "table_scales": 4 * words, "places": 4 * model.context * width}
        self.fill(model, 0, sizes, width)

    def encoder(self, model: native.EncoderModel) -> None:
        self.add(bytes(model))
        self._layers(model, lambda layer: {})
        self.fill(model, 0, {}, model.width)

    def _layers(self, model: Any, sizes_of: Callable[[native.Layer], dict[str, int]]) -> None:
        layers = ctypes.cast(model.layer, ctypes.POINTER(native.Layer * model.layers)).contents
        start = self._point(type(model).layer.offset, bytes(layers))
        for i, layer in enumerate(layers):
            self.fill(layer, start + i * ctypes.sizeof(layer), sizes_of(layer), model.width)

    def fill(self, given: ctypes.Structure, at: int, sizes: dict[str, int], width: int) -> None:
        """What ``given``, whose copy is at ``at``, points to: ``sizes`` in bytes."""
        for name, kind in given._fields_:  # type: ignore[misc]
            value, place = getattr(given, name), at + getattr(type(given), name).offset
            if isinstance(value, native.Matrix):
                self.fill(value, place, matrix_sizes(value), width)
            elif isinstance(value, native.Norm):
                wide = given.head_dim if name in ("query_norm", "key_norm") else width  # type: ignore[attr-defined]
                self.fill(value, place, dict.fromkeys(("weight", "bias"), 4 * wide), width)
            elif kind is ctypes.c_void_p and value:
                self._point(place, ctypes.string_at(value, sizes[name]))

    def _point(self, place: int, content: bytes) -> int:
        start = self.add(content)
        self.data[place : place + 8] = struct.pack("<q", start)
        self.pointers.append(place)
        return start


def matrix_sizes(m: native.Matrix) -> dict[str, int]:
    cells, int4 = m.rows * m.columns, m.kind == native.INT4
    scales = cells // 16 if int4 else 4 * m.rows
    return {"weights": cells // 2 if int4 else cells, "scales": scales, "minimums": scales, "bias": 4 * m.rows}


class Remote:
    """The functions of the library, computed by the program behind ``pipes``."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._shapes: dict[int, Any] = {}
        self._per_source: dict[int, int] = {}  # numbers of keys and values that a decoder keeps of a source's token
        self.levels: tuple[int, ...] = ()

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def _ask(
        self, call: int, handle: int, *numbers: int, data: bytes = b"", floats: int = 0, out: int = 0, pointers=()
    ) -> int:
        a, b, c = (*numbers, 0, 0, 0)[:3]
        request = struct.pack("<8q", call, handle, a, b, c, floats, len(pointers), len(data))
        pipes = self._process
        assert pipes.stdin is not None
        assert pipes.stdout is not None
        pipes.stdin.write(request + struct.pack(f"<{len(pointers)}q", *pointers) + data)
        pipes.stdin.flush()
        answer = pipes.stdout.read(8 + 4 * floats)
        assert len(answer) == 8 + 4 * floats, "the library ended"
        if floats:
            ctypes.memmove(out, answer[8:], 4 * floats)
        return int(struct.unpack("<q", answer[:8])[0])

    def lamina_best_level(self, wanted: int) -> int:
        return self._ask(LEVEL, 0, wanted)

    def lamina_open(self, model: native.Model, threads: int, level: int) -> int:
        image = Image()
        image.model(model)
        handle = self._ask(OPEN, 0, threads, level, data=bytes(image.data), pointers=image.pointers)
        layer = ctypes.cast(model.layer, ctypes.POINTER(native.Layer)).contents
        self._shapes[handle] = model.vocabulary
        self._per_source[handle] = model.layers * 2 * layer.kv_heads * layer.head_dim
        return handle

    def lamina_step(self, handle: int, asked: native.Request) -> int:
        """The distance of tables, where what is said of sources begins (0: nowhere), tokens, positions, wanted rows,
        tables; of sources their tokens, the rows' beginnings and ends, keys and values."""
        assert not asked.adapters
        tables = asked.stride * (asked.rows - 1) + asked.blocks
        parts = [(asked.tokens, asked.rows), (asked.positions, asked.rows), (asked.wanted, asked.count)]
        found = [ctypes.string_at(at, 8 * count) for at, count in (*parts, (asked.tables, tables))]
        about = b""
        if asked.sources:
            sources = native.Sources.from_address(asked.sources)
            sizes = {"begins": 8 * asked.rows, "ends": 8 * asked.rows}
            sizes["store"] = 4 * sources.tokens * self._per_source[handle]
            parts_of = (ctypes.string_at(getattr(sources, name), size) for name, size in sizes.items())
            about = struct.pack("<q", sources.tokens) + b"".join(parts_of)
        size = 16 + sum(map(len, found))
        data = b"".join((struct.pack("<2q", asked.stride, size if about else 0), *found, about))
        floats = asked.count * self._shapes[handle]
        return self._ask(
            STEP, handle, asked.rows, asked.blocks, asked.count, data=data, floats=floats, out=asked.scores
        )

    def lamina_close(self, handle: int) -> None:
        self._ask(CLOSE, handle)

    def lamina_encoder_open(self, model: native.EncoderModel, threads: int, level: int) -> int:
        image = Image()
        image.encoder(model)
        handle = self._ask(ENCODER, 0, threads, level, data=bytes(image.data), pointers=image.pointers)
        self._shapes[handle] = model.width
        return handle

    def lamina_encode(self, handle: int, embedded: int, ends: int, texts: int, out: int) -> int:
        at = ctypes.string_at(ends, 8 * texts)
        floats = struct.unpack(f"<{texts}q", at)[-1] * self._shapes[handle]
        return self._ask(
            ENCODE, handle, texts, data=at + ctypes.string_at(embedded, 4 * floats), floats=floats, out=out
        )

    def lamina_encoder_close(self, handle: int) -> None:
        self._ask(CLOSE_ENCODER, handle)

    def lamina_product_open(self, matrix: native.Matrix, threads: int, level: int) -> int:
        image = Image()
        image.fill(matrix, image.add(bytes(matrix)), matrix_sizes(matrix), 0)
        handle = self._ask(PRODUCT, 0, threads, level, data=bytes(image.data), pointers=image.pointers)
        self._shapes[handle] = (matrix.rows, matrix.columns)
        return handle

    def lamina_product_apply(self, handle: int, x: int, rows: int, out: int) -> int:
        matrix_rows, columns = self._shapes[handle]
        data = ctypes.string_at(x, 4 * rows * columns)
        return self._ask(APPLY, handle, rows, data=data, floats=rows * matrix_rows, out=out)

    def lamina_product_close(self, handle: int) -> None:
        self._ask(CLOSE_PRODUCT, handle)


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The library and what speaks to it, for ARM."""
    missing = [name for name in (COMPILER, EMULATOR) if not shutil.which(name)]
    if missing:
        text = f"{' and '.join(missing)} not found: `make setup-dev` installs them where root allows"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)
    made: Path = tmp_path_factory.mktemp("arm") / "remote"
    sources = [str(path) for path in (*sorted(SOURCES.glob("*.cpp")), Path(__file__).with_name("remote.cpp"))]
    flags = ["-O2", "-std=c++17", "-static", "-pthread", "-fno-math-errno", "-Wno-psabi", f"-I{SOURCES}"]
    objects = []
    running = []
    for source in sources:
        objects.append(str(made.with_name(Path(source).stem + ".o")))
        running.append(subprocess.Popen([COMPILER, *flags, "-c", source, "-o", objects[-1]]))
    assert all(process.wait() == 0 for process in running)
    subprocess.run([COMPILER, *flags, *objects, "-o", str(made)], check=True)
    return made


@pytest.fixture(scope="module", params=["cortex-a53", "max"])
def library(program: Path, request: pytest.FixtureRequest) -> Iterator[Remote]:
    """On a processor without dot products, and on one with them."""
    remote = Remote([EMULATOR, "-cpu", request.param, str(program)])
    remote.levels = (PORTABLE, NEON) if request.param == "cortex-a53" else (DOTPROD,)
    yield remote
    remote.close()


def test_the_best_level_is_what_the_processor_has(library: Remote) -> None:
    best = library.levels[-1]
    assert [library.lamina_best_level(wanted) for wanted in (-1, DOTPROD, NEON, 1, PORTABLE)] == [
        best,
        best,
        NEON,
        0,
        0,
    ]


def int8(n: int, k: int, generator: torch.Generator) -> Int8Linear:
    weight = torch.randn(n, k, generator=generator) * torch.logspace(-2, 2, n)[:, None]
    return Int8Linear(*quantize_rows(weight), torch.randn(n, generator=generator))


def int4(n: int, k: int, generator: torch.Generator, *, minimum: bool) -> Int4Linear:
    weight = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8, generator=generator)
    scale = torch.rand(n, k // 32, generator=generator).half()
    least = torch.randn(n, k // 32, generator=generator).half() if minimum else None
    return Int4Linear(weight, scale, least, torch.randn(n, generator=generator))


def grouped(values: torch.Tensor) -> torch.Tensor:
    """(M, K) -> (M, groups that share a scale, 128), filled up with zeros."""
    return F.pad(values, (0, -values.shape[1] % 128)).unflatten(1, (-1, 128))


@pytest.mark.parametrize(
    ("make", "n", "k"),
    [
        *(pytest.param(int8, n, k, id=f"int8 {n}x{k}") for n, k in ((97, 48), (5, 20), (40, 576))),
        *(pytest.param(partial(int4, minimum=least), 97, 288, id=f"Q4_{int(least)}") for least in (False, True)),
    ],
)
def test_a_product_is_that_of_its_weights(make, n: int, k: int, library: Remote, monkeypatch) -> None:
    monkeypatch.setattr(native, "open_library", lambda: library)
    generator = torch.Generator().manual_seed(n)
    layer = make(n, k, generator)
    x = torch.randn(32, k, generator=generator)
    x[:, k // 2] *= 1000
    x[3] = 0.0
    whole = layer.widened().double()
    expected = x.double() @ whole.T + layer.bias.double()
    # half a step of a group's inputs is 1 / 65278 of its largest value
    bound = grouped(x.abs().double()).amax(dim=-1) / 65278 @ grouped(whole.abs()).sum(dim=-1).T
    for level in library.levels:
        product = Product(layer, threads=2, level=level)
        for rows in (1, 4, 8, 23, 32):
            off = (product(x[:rows]) - expected[:rows]).abs()
            assert bool((off <= bound[:rows] + 2e-6 * expected[:rows].abs() + 1e-6 * layer.bias.abs()).all())
        product.close()


@pytest.mark.parametrize(
    ("family", "cache", "length"),
    [("llama", None, 21), ("llama", "int8", 262), ("llama", "float16", 262), ("gpt2", None, 21), ("qwen3", "int8", 21)],
)
def test_a_whole_step_gives_torchs_scores(
    family: str, cache: Any, length: int, library: Remote, tiny_model, monkeypatch
) -> None:
    """A prompt, also a longer one than is attended to in one go, then single tokens of two sequences at once."""
    blocks = tuple(range(79, 4, -1))
    mates = (Place(blocks, length), Place((0, 1), 5))
    options: dict[str, Any] = {"blocks": 80, "block_tokens": 4, "context": 300, "cache": cache}

    def scores(run: Runner) -> torch.Tensor:
        prompt = run.prefill(IDS[:length], Place(blocks, 0), scores=True)
        run.prefill(IDS[:5], Place((0, 1), 0), scores=False)
        assert prompt is not None
        return torch.cat((prompt[None], run.decode([3, 9], mates)))

    model = tiny_model(family, positions=300)
    plain = dequantize(quantize(tiny_model(family, positions=300)), torch.float32)
    expected = scores(Runner(plain, kernels="torch", **options))
    monkeypatch.setattr(native, "open_library", lambda: library)
    run = Runner(quantize(model), kernels="native", **options)
    assert run.kernels == "native"
    # a stored number near the middle of two that can be stored becomes either
    close = {None: 2e-3, "float16": 5e-3, "int8": 0.05}[cache]
    torch.testing.assert_close(scores(run), expected, rtol=0, atol=close)
    run.close()


def test_an_encoder_gives_torchs_hidden_states(library: Remote, monkeypatch) -> None:
    """Texts side by side, one of them longer than is attended to in one go."""
    torch.manual_seed(0)
    model = (
        Transformer(bert(vocabulary=90, width=80, layers=2, heads=5, max_positions=300)).eval().requires_grad_(False)
    )
    for name, parameter in model.named_parameters():
        if "blocks" in name and parameter.dim() == 2:
            steps, scale = quantize_rows(6 * parameter)
            parameter.copy_(steps * scale.float()[:, None])
    rows = [IDS[:1], IDS[:270], IDS[:19]]
    with torch.inference_mode():
        expected = [model(torch.tensor([row]))[0] for row in rows]
    monkeypatch.setattr(native, "open_library", lambda: library)
    encoder = open_native_encoder(model.stack, context=300, rounded=Int8Linear.of)
    assert encoder is not None
    for states, wanted in zip(encoder(rows), expected, strict=True):
        torch.testing.assert_close(states, wanted, rtol=0, atol=2e-3)
    encoder.close()


@torch.inference_mode()
def test_an_encoder_decoder_gives_torchs_scores(library: Remote, monkeypatch) -> None:
    """Two rows of each of two sources, one of them longer than is attended to in one go; then rows change places."""
    torch.manual_seed(0)
    spec = marian(vocabulary=90, width=96, layers=2, heads=3, inner=70, max_positions=320, start_token=0)
    model = Transformer(spec).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            steps, scale = quantize_rows(6 * parameter)
            parameter.copy_(steps * scale.float()[:, None])
    sources = [IDS[:5], IDS[:270]]
    plain = PlainComputing(model, sources)
    monkeypatch.setattr(native, "open_library", lambda: library)
    monkeypatch.setattr(writer_module, "_SLOTS", 64)  # all of it travels
    writer = open_native_writer(model, rounded=Int8Linear.of)
    assert writer is not None
    rows = writer.begin(sources, 2, 6)
    assert rows is not None
    tokens = torch.tensor([[4], [9], [33], [2]])
    for step in range(6):
        expected = plain.scores(tokens)
        torch.testing.assert_close(rows.scores(tokens), expected, rtol=0, atol=3e-3)
        tokens = expected.argmax(dim=1, keepdim=True)
        if step == 2:
            chosen = torch.tensor([1, 0, 3, 3])
            for computing in (rows, plain):
                computing.keep(chosen, None)
            tokens = tokens[chosen]
    writer.close()
