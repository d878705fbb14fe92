"""Products of the native library equal those of the weights that they stand for, at every level of this machine."""

from __future__ import annotations

import platform
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lamina.deployment.compress.int4 import Int4Linear
from lamina.deployment.compress.int8 import Int8Linear, quantize_rows
from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native.product import Product
from lamina.kit.errors import ConfigError, LaminaError

pytestmark = pytest.mark.skipif(native.open_library() is None, reason=f"native kernels: {native.describe()}")
HERE = range(native.best_level(-1) + 1)


def int8(n: int, k: int, generator: torch.Generator) -> Int8Linear:
    weight = torch.randn(n, k, generator=generator) * torch.logspace(-2, 2, n)[:, None]
    return Int8Linear(*quantize_rows(weight), torch.randn(n, generator=generator))


def int4(n: int, k: int, generator: torch.Generator, *, minimum: bool) -> Int4Linear:
    weight = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8, generator=generator)
    scale = torch.rand(n, k // 32, generator=generator).half()
    least = torch.randn(n, k // 32, generator=generator).half() if minimum else None
    return Int4Linear(weight, scale, least, torch.randn(n, generator=generator))


CASES = [
    *(pytest.param(int8, n, k, id=f"int8 {n}x{k}") for n, k in ((24, 32), (97, 48), (5, 20), (130, 576))),
    *(
        pytest.param(partial(int4, minimum=minimum), n, k, id=f"Q4_{int(minimum)} {n}x{k}")
        for n, k in ((24, 32), (97, 576))
        for minimum in (False, True)
    ),
]


def grouped(values: torch.Tensor) -> torch.Tensor:
    """(M, K) -> (M, groups that share a scale, 128), filled up with zeros."""
    return F.pad(values, (0, -values.shape[1] % 128)).unflatten(1, (-1, 128))


@pytest.mark.parametrize("level", HERE, ids=lambda level: native.LEVELS[level])
@pytest.mark.parametrize("rows", [1, 4, 8, 23, 32, 145, 512])
@pytest.mark.parametrize(("make", "n", "k"), [*CASES])
def test_a_product_is_that_of_its_weights(make, n: int, k: int, rows: int, level: int) -> None:
    generator = torch.Generator().manual_seed(rows * 1000 + n)
    layer = make(n, k, generator)
    x = torch.randn(rows, k, generator=generator)
    x[:, k // 2] *= 1000  # an input that dwarfs the others spoils those that share its scale only
    whole = layer.widened().double()
    expected = x.double() @ whole.T + layer.bias.double()
    product = Product(layer, threads=1 + rows % 2, level=level)
    out = product(x)
    # an input is off by half a step of its scale, 1 / 65534 of the largest value
    steps = grouped(x.abs().double()).amax(dim=-1) / 65534
    bound = steps @ grouped(whole.abs()).sum(dim=-1).T
    assert bool(((out - expected).abs() <= bound + 2e-6 * expected.abs() + 1e-6 * layer.bias.abs()).all())
    for row in (0, rows // 2, rows - 1):
        assert torch.equal(product(x[row : row + 1])[0], out[row])
    product.close()


def test_extremes_do_not_overflow() -> None:
    weight = torch.full((16, 1536), 127, dtype=torch.int8)
    weight[1::2] = -128
    x = torch.full((19, 1536), 3e4)  # more rows than a tile has
    x[1] = 0.0
    x[2, ::2] = -3e4
    nibbles = torch.full((16, 768), 255, dtype=torch.uint8)
    nibbles[1::2] = 0
    for level in HERE:
        out = Product(Int8Linear(weight, torch.ones(16)), level=level)(x)
        expected = 3e4 * 1536 * torch.tensor([127.0, -128.0]).repeat(8)
        for row in (0, 3, 18):
            torch.testing.assert_close(out[row], expected, rtol=1e-6, atol=0)
        assert bool((out[1:3] == 0).all())
        out = Product(Int4Linear(nibbles, torch.ones(16, 48).half(), None), level=level)(x)
        for row in (0, 18):
            torch.testing.assert_close(out[row], 3e4 * 1536 * torch.tensor([7.0, -8.0]).repeat(8), rtol=1e-6, atol=0)


@pytest.mark.skipif(native.LEVELS.index("amx") not in HERE, reason="this processor has no AMX that works")
@pytest.mark.parametrize(("make", "n", "k"), [*CASES])
def test_amx_gives_the_bits_of_avx512(make, n: int, k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    layer, x = make(n, k, generator), torch.randn(145, k, generator=generator)
    levels = [native.LEVELS.index(name) for name in ("amx", "avx512-vnni")]
    ours, plain = (Product(layer, threads=2, level=level)(x) for level in levels)
    assert torch.equal(ours, plain)


def test_levels(monkeypatch) -> None:
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", "portable")
    assert (native.best_level(), native.describe()) == (0, "portable instructions")
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", "amx")  # where tiles do not work, what is there below them
    expected = min(native.best_level(-1), native.LEVELS.index("amx")) if platform.machine() == "x86_64" else 0
    assert native.best_level() == expected
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", "off")
    assert native.open_library() is None
    assert "switched off" in native.describe()
    with pytest.raises(LaminaError, match="could not take") as refused:
        Product(Int8Linear(*quantize_rows(torch.randn(4, 8))))
    assert "switched off" in str(refused.value.hint)
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", "sse9")
    with pytest.raises(ConfigError, match="sse9"):
        native.best_level()


@pytest.mark.parametrize(("content", "said"), [(None, "not built"), (b"", "cannot be loaded")], ids=["none", "broken"])
def test_without_a_library_it_says_so(content: bytes | None, said: str, tmp_path, monkeypatch) -> None:
    file = tmp_path / "liblamina.so"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(native, "LIBRARY", file)
    monkeypatch.setattr(native, "_open", native._open.__wrapped__)
    assert native.open_library() is None
    assert said in native.describe()
    assert native.best_level() == 0


def test_rows_of_another_size_are_refused_before_the_library_reads_them() -> None:
    product = Product(int8(24, 32, torch.Generator().manual_seed(0)))
    for given in (torch.ones(4, 1), torch.ones(4, 64)):
        with pytest.raises(LaminaError, match="rows of 32"):
            product(given)
    product.close()
    with pytest.raises(LaminaError, match="closed"):
        product(torch.ones(4, 32))
