"""Matrix products for inference on the CPU, by the faster of the two libraries that PyTorch ships."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cuda_ext.transforms import transformed

from .held import HeldLinear

MIN_TOKENS = 16  # below this oneDNN's set-up costs more than it saves


def is_plain(projection: nn.Module) -> bool:
    """Return whether calling a projection does no more than multiply: nothing wraps, watches or quantises it."""
    # Private, but without a public counterpart: PyTorch's hook dictionaries, and accelerate's mark of a module whose
    # weight its hook moves in.
    return (
        type(projection) in (nn.Linear, HeldLinear)
        and is_dense(projection._parameters["weight"])  # a held weight is made anew when it is asked for
        and not (projection._forward_hooks or projection._forward_pre_hooks or hasattr(projection, "_hf_hook"))
    )


def is_dense(value: object) -> bool:
    """Return whether a value is a tensor of numbers and no more: not quantised, fake, distributed or otherwise."""
    return type(value) in (Tensor, nn.Parameter)


def _suits(x: Tensor, matrix: Tensor) -> bool:
    """Return whether to multiply with oneDNN, which has no derivatives and, in PyTorch, float32 only on request."""
    # Asked first: what is compiled or exported for any number of tokens must not depend on how many there are.
    if torch.compiler.is_compiling():
        return False
    return (
        x.device.type == "cpu"
        and x.dtype == matrix.dtype == torch.float32
        and x[..., 0].numel() >= MIN_TOKENS
        and torch.backends.mkldnn.is_available()
        and is_dense(x)
        and is_dense(matrix)
        and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or transformed())
        # What counts or replaces PyTorch's operations, such as FlopCounterMode, may not know those of oneDNN. Private,
        # as there is no public way to ask whether such a mode is active.
        and not torch._C._len_torch_dispatch_stack()
        # PyTorch has no public op for oneDNN's fused float32 product; without this one its own product serves.
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def project(projection: nn.Linear, x: Tensor, activation: str = "none") -> Tensor:
    """Return ``projection(x)``, through a ReLU if ``activation`` is "relu".

    PyTorch multiplies float32 matrices with MKL, which does not use the wide vectors of AMD processors; oneDNN, whose
    fused products `torch.compile` also uses, is 2.2 times as fast there (256 tokens, Zen 5).

    Args:
        projection: a linear layer, possibly wrapped by an adapter or hooked; then it is simply called.
        x: (..., in) input.
        activation: "none" or "relu".
    """
    if is_plain(projection):
        weight = projection.weight  # asked for once: where it is held in half precision, asking costs
        if _suits(x, weight):
            return torch.ops.mkldnn._linear_pointwise(x, weight, projection.bias, activation, [], "")
    out = projection(x)
    return torch.relu(out) if activation == "relu" else out


def product(x: Tensor, matrix: Tensor) -> Tensor:
    """Return ``x @ matrix``, (..., in) times (in, out), with the same library as ``project``."""
    matrix = matrix.to(x.dtype)
    if _suits(x, matrix):
        return torch.ops.mkldnn._linear_pointwise(x, matrix.T, None, "none", [], "")
    return x @ matrix
