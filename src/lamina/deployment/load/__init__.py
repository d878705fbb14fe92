"""Load on a server that is reached over HTTP: when requests come, what they ask, how they were answered."""
