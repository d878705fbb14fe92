"""Answers by an installed vLLM, in the place of the house's own engine."""
