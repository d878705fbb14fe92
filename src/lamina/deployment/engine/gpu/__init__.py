"""Steps on a GPU as CUDA graphs over Triton kernels, and tokens drawn there."""
