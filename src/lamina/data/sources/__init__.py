"""Collectors: each module registers one at the door ``SOURCES`` and yields record batches of documents."""
