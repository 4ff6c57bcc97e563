"""The definition of every op in plain PyTorch: the oracle of the compiled kernels, and their fallback."""
