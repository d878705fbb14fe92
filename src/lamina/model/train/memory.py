"""How the C library deals with the memory of a step."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_TRIM, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX of glibc's malloc.h
_NEVER = 2**31 - 1
_AT_ONCE = 256 << 20  # bytes by which the heap grows


def keep_freed_memory() -> bool:
    """Let freed memory stay with this process; whether the C library could be told so (glibc's mallopt(3) can).

    Each step of training allocates gigabytes of activations and frees them again. By default glibc asks the kernel for
    each large array and gives it back at once, so that every page of it is cleared and mapped anew, step after step:
    a quarter of the time of a bfloat16 step on two cores with AMX. The peak does not grow.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM, _NEVER), mallopt(_TOP_PAD, _AT_ONCE)])
    return False
