"""Documents in: sources, cleaning, duplicates, splits, token shards and batches. Never torch."""
