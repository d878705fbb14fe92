"""The REST API: OpenAI's routes, and the stack's own."""
