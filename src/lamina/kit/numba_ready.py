"""numba with its tables of types and code loaded, which its first compiled function would wait for.

Importing this takes 0.4 processor seconds, once in a process that forks children (``kit.spawn``) instead of in each.
"""

from __future__ import annotations

from typing import Any

from numba.core import registry

_target: Any = registry.cpu_target
_target.typing_context.refresh()
_target.target_context.refresh()
