"""Serving: compressed weights, the engine, the registry of versions, the parity seal and the service."""
