"""The definitions of the ops in plain PyTorch: what the kernels are tested against, and what runs without them."""
