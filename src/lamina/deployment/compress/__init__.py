"""Making a model smaller and faster to serve."""
