"""Students, and forward passes fit for CUDA graphs. May import data and below."""
