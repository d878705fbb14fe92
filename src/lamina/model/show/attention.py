"""What the tokens of a sentence attend to, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamina.model.layers.attention import Attention
from lamina.model.transformer import Transformer

_LAYERS = 6  # drawn, spread over the model
_HEADS = 4


@torch.inference_mode()
def attention_maps(model: Transformer, ids: Tensor, *, sources: Tensor | None = None) -> dict[str, Tensor]:
    """For each attention, by its name in the model, how much tokens attend to tokens: (H, T, S), rows adding up to 1.

    ``ids`` (1, T) and ``sources`` (1, S) as in ``Transformer.forward``.
    """
    found: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(module: Any, arguments: tuple[Any, ...], given: dict[str, Any]) -> None:
            kept = {key: value for key, value in given.items() if key != "cache"}
            found[name] = module.weights(*arguments, **kept)[0]

        return hook

    hooks = [
        module.register_forward_pre_hook(note(name), with_kwargs=True)
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    ]
    try:
        model(ids, sources=sources)
    finally:
        for handle in hooks:
            handle.remove()
    return found


def draw_attention(maps: dict[str, Tensor], tokens: Sequence[str], path: Path) -> None:
    """Write a picture (SVG) of self-attentions over ``tokens``: a row a layer, its mean over heads and some heads."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib.figure import Figure

    names = [name for name, some in maps.items() if some.shape[-1] == some.shape[-2] == len(tokens)]
    chosen = [
        names[round(i * (len(names) - 1) / max(1, min(_LAYERS, len(names)) - 1))]
        for i in range(min(_LAYERS, len(names)))
    ]
    columns = 1 + min(_HEADS, maps[chosen[0]].shape[0])
    side = max(2.2, 0.16 * len(tokens))
    figure = Figure(figsize=(side * columns, side * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), columns, squeeze=False)
    for row, name in enumerate(chosen):
        some = maps[name].float().cpu()
        for column in range(columns):
            axis = axes[row][column]
            shown = some.mean(0) if column == 0 else some[(column - 1) * some.shape[0] // _HEADS]
            axis.imshow(shown.numpy(), cmap="viridis", vmin=0.0, vmax=1.0, interpolation="nearest")
            title = f"{name}\nall heads" if column == 0 else f"head {(column - 1) * some.shape[0] // _HEADS}"
            axis.set_title(title, fontsize=7)
            axis.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=5)
            axis.set_yticks(range(len(tokens)), tokens if column == 0 else [""] * len(tokens), fontsize=5)
    figure.savefig(path, format="svg")
