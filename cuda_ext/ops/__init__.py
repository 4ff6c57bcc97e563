"""The PyTorch ops of the kernels, one a file: registration, argument checks, gradients."""
