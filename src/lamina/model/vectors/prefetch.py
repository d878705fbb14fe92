"""Memory asked for before it is needed: a load from main memory takes longer than the arithmetic on what it brings."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite tells no types
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lamina.kit import numba_cache

_LINE = 16  # float32 of a cache line


def _touch(typing: Any, matrix: Any, row: Any, column: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = cgutils.get_item_pointer(context, builder, signature.args[0], array, list(arguments[1:]))
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, *[ir.IntType(32)] * 3])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_write, keep, data = (ir.Constant(ir.IntType(32), n) for n in (1, 3, 1))
        builder.call(prefetch, [builder.bitcast(place, pointer), to_write, keep, data])
        return context.get_dummy_value()

    return types.void(matrix, types.intp, types.intp), generate


#: ``touch(matrix, row, column)`` fetches the cache line of an element, to write to it; it never fails or waits.
touch: Any = intrinsic(_touch)


@numba_cache.keeping(_nrt=False, forceinline=True)
def touch_row(matrix, row):
    """The same for all lines of a row of float32."""
    for j in range(0, matrix.shape[1], _LINE):
        touch(matrix, row, j)
