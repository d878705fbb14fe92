"""What queries attend to on the torch path: every token before them, or where a layer has a window the nearest ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.deployment.engine.layer import Layer
from lamina.deployment.engine.operations import attend as attend_to
from lamina.deployment.engine.place import Paging, Place

#: Keeps the keys and values (N, 2 · kv_heads, Dh) of N rows, and lets their queries (N, heads, Dh) attend: (N, H · Dh).
Attend = Callable[[Layer, Tensor, Tensor], Tensor]


def first_seen(end: int, window: int | None) -> int:
    """The first of the ``end`` tokens that the last of them attends to."""
    return 0 if window is None else max(0, end - window)


def attend_tokens(places: Sequence[Place], paging: Paging) -> Attend:
    """For one more token of each of several sequences."""
    slots = [paging.slot(place, place.stored) for place in places]
    written = slots[0] if len(slots) == 1 else torch.tensor(slots, device=paging.device)
    views: dict[int | None, list[slice | Tensor]] = {}

    def attend(layer: Layer, q: Tensor, kv: Tensor) -> Tensor:
        window, scale = layer.spec.attention.window, layer.spec.attention.scale
        if window not in views:
            ends = [place.stored + 1 for place in places]
            views[window] = [paging.view(p, e, first_seen(e, window)) for p, e in zip(places, ends, strict=True)]
        layer.put(written, kv)
        rows = [attend_to(q[n : n + 1].unsqueeze(2), layer.seen(v), None, scale) for n, v in enumerate(views[window])]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    return attend


def attend_prompt(place: Place, count: int, padded: int, paging: Paging) -> Attend:
    """For the next ``count`` tokens of one sequence; rows up to ``padded`` are of no token, and see nothing."""
    start, end = place.stored, place.stored + count
    slots = paging.slots(place, start, end)
    sights: dict[int | None, tuple[slice | Tensor, Tensor | None]] = {}

    def sight(window: int | None) -> tuple[slice | Tensor, Tensor | None]:
        """What any of them sees, and which of it each does; None: all up to itself."""
        first = first_seen(start + 1, window)
        view = paging.view(place, end, first)
        near = window is not None and window < end
        if not start and not near:
            return view, None
        mask = torch.ones(count, end - first, dtype=torch.bool, device=paging.device).tril(start - first)
        return view, mask.triu(start - first - window + 1) if window is not None and near else mask

    def attend(layer: Layer, q: Tensor, kv: Tensor) -> Tensor:
        window, scale = layer.spec.attention.window, layer.spec.attention.scale
        if window not in sights:
            sights[window] = sight(window)
        view, mask = sights[window]
        layer.put(slots, kv[:count])
        out = attend_to(q[:count].transpose(0, 1).unsqueeze(0), layer.seen(view), mask, scale)
        return out if padded == count else F.pad(out, (0, 0, 0, padded - count))

    return attend
