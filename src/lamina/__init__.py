"""Lamina: documents in at one end, a language model of your own out at the other, and back."""

from __future__ import annotations

__version__ = "0.1.0"
