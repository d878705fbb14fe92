"""How varied a corpus is, in numbers and in words."""
