"""Tools without opinions that more than one layer needs. Never torch."""
