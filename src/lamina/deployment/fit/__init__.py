"""The engine fits itself to its machine: measured at the start, followed while it serves."""
