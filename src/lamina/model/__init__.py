"""The model layer: one transformer built from a specification, its weights in and out, its training and evaluation."""
