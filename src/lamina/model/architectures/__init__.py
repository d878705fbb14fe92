"""Architectures as specifications: factories and presets, each with its paper."""
