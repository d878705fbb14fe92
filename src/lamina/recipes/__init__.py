"""The only place where the four layers meet: each verb of the command line is a recipe."""
