"""A model, shown: its parts with shapes and costs as a table and as a picture, and what its tokens attend to."""

from __future__ import annotations

from lamina.model.show.attention import attention_maps, draw_attention
from lamina.model.show.parts import Description, describe
from lamina.model.show.picture import draw

__all__ = ["Description", "attention_maps", "describe", "draw", "draw_attention"]
