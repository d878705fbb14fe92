"""How good a model is: bits per byte of text, and the likelihood of given answers."""
