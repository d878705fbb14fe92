"""The decoding step as one call into a C++ library: int8 and int4 weights, every level of instructions, all cores."""
