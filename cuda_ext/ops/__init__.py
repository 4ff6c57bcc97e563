"""The PyTorch ops, one per file: argument checks, registration, gradients, and the choice of kernel or definition."""
