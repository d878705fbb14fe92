"""Augmentation: children of documents, by the papers' rules, with what must not change left as it is."""
