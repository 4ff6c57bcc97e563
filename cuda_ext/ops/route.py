"""`route`: arguments checked, then the op `monet::route`, which autograd, fake tensors and `torch.compile` know."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from ..library import CPU, has_kernel
from ..reference.route import check_rows, inverse_deviation, not_finite, route_reference
from ..sparse import MAX_KEYS, check_tensor

LOGIT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def route(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Active keys and their probabilities, from the router's raw logits (paper, section 3).

    Evaluation only: the statistics are the running ones. ``n = (z - mean) / sqrt(var + 1e-5)``; a key is active where
    ``n >= min(max n, sigma)``, so at least one is; the probabilities are the softmax of the raw ``z`` over the active
    keys. Computed in float32. Differentiable in ``logits`` through ``probs``; which keys are active is piecewise
    constant, so ``mean``, ``var`` and ``sigma`` get no gradient.

    Args:
        logits: (tokens, heads, keys) float32, bfloat16 or float16; any strides; -inf masks a key.
        mean, var: (heads,) running mean and variance, on the device of ``logits``.
        sigma: threshold in standard deviations, ``Phi^-1(1 - k / keys)``.

    Returns:
        Key indices (tokens, heads, k) int16, ascending; probabilities (tokens, heads, k) float32; numbers of active
        keys (tokens, heads) int32. k is the largest number: nothing is cut. Slots past a row's number hold index 0
        and probability 0.

    Raises:
        TypeError: an argument is no tensor, or of a dtype that is not listed.
        ValueError: a wrong shape or device, no keys or more than 32,767; statistics or sigma that are not finite, a
            negative variance; a row of logits with NaN or +inf, or with nothing but -inf.
    """
    _check(logits, mean, var, sigma)
    plain = not (torch.compiler.is_compiling() or (logits.requires_grad and torch.is_grad_enabled()))
    if plain and logits.device.type == "cpu" and has_kernel(logits.device):
        # What `_route` would come to, without the tens of microseconds that a Python op costs.
        return _on_cpu(logits.float(), mean.float(), var.float(), float(sigma))
    # The CUDA kernel reads bfloat16 as it is; everything else is float32.
    direct = logits.dtype == torch.bfloat16 and logits.device.type == "cuda" and has_kernel(logits.device)
    return _route(logits if direct else logits.float(), mean.detach().float(), var.detach().float(), float(sigma))


def _check(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> None:
    """What shapes and dtypes tell; what takes a look at the values is checked in the op."""
    check_tensor("logits", logits, ("tokens", "heads", "keys"))
    if logits.dtype not in LOGIT_DTYPES:
        raise TypeError(f"logits must be float32, bfloat16 or float16; got {logits.dtype}. Use logits.float().")
    heads, keys = logits.shape[1:]
    if not 1 <= keys <= MAX_KEYS:
        raise ValueError(f"logits must have 1 to {MAX_KEYS} keys, as indices are 16-bit; got {keys}.")
    for name, value in (("mean", mean), ("var", var)):
        check_tensor(name, value, (heads,), logits.device)
        if not value.is_floating_point():
            raise TypeError(f"{name} must be of a floating dtype; got {value.dtype}.")
    if not -math.inf < sigma < math.inf:  # torch.compile knows comparisons of a number that varies, not isfinite
        raise ValueError(f"sigma must be finite; got {sigma}.")


@torch.library.custom_op("monet::route", mutates_args=())
def _route(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    # float64 is for checks of the gradient: `route` does not let it in, and no kernel knows it.
    if logits.dtype == torch.float64 or not has_kernel(logits.device):
        _check_statistics(mean, var)
        return route_reference(logits, mean, var, sigma)
    return (_on_cpu if logits.device.type == "cpu" else _on_gpu)(logits, mean, var, sigma)


def _check_statistics(mean: Tensor, var: Tensor) -> None:
    if not bool(mean.isfinite().all()):
        raise ValueError("mean holds NaN or an infinity; the running mean of a trained router expected.")
    if not bool(((var >= 0) & var.isfinite()).all()):
        raise ValueError("var holds a negative value, NaN or an infinity; the running variance of a router expected.")


def _on_cpu(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    try:
        return torch.ops.monet.route_kernel(logits.contiguous(), mean.contiguous(), var.contiguous(), sigma)
    except RuntimeError:  # the kernel looks at the values as it goes; what it found wrong is told here
        _check_statistics(mean, var)
        check_rows(logits)
        raise


def _on_gpu(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the kernel with room for the expected number of keys; a second time where that was too little."""
    _check_statistics(mean, var)
    tokens, heads, keys = logits.shape
    if tokens * heads == 0:
        none = logits.new_empty(tokens, heads, 0, dtype=torch.float32)
        return none.short(), none, none.new_empty(tokens, heads, dtype=torch.int32)
    given = (logits.contiguous(), mean.contiguous(), inverse_deviation(var), sigma)
    width = expected_width(keys, sigma)
    indices, probs, counts = torch.ops.monet.route_padded(*given, width)
    fewest, most = (int(n) for n in counts.aminmax())
    if fewest < 0:  # the kernel's mark of a row without a routing
        raise not_finite(int((counts < 0).sum()))
    if most > width:
        indices, probs, counts = torch.ops.monet.route_padded(*given, most)
    return indices[..., :most].contiguous(), probs[..., :most].contiguous(), counts


@cache
def expected_width(keys: int, sigma: float) -> int:
    """Slots a row to try first: twice the number of keys a normal distribution puts above sigma, and some."""
    mean = keys * (1 - NormalDist().cdf(sigma))
    return min(keys, 16 * math.ceil((2 * mean + 16) / 16))


@_route.register_fake
def _shapes(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    tokens, heads, _ = logits.shape
    width = torch.library.get_ctx().new_dynamic_size()
    return (
        logits.new_empty(tokens, heads, width, dtype=torch.int16),
        logits.new_empty(tokens, heads, width, dtype=mean.dtype),
        logits.new_empty(tokens, heads, dtype=torch.int32),
    )


if CPU.loaded:
    torch.library.register_fake("monet::route_kernel", lambda *given: _shapes(*given[:4]))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    indices, probs, counts = output
    ctx.mark_non_differentiable(indices, counts)
    ctx.save_for_backward(indices, probs, counts)
    ctx.keys, ctx.dtype = inputs[0].shape[-1], inputs[0].dtype


def _backward(ctx: Any, _indices: None, grad: Tensor, _counts: None) -> tuple[Tensor | None, ...]:
    """Softmax backward over the active keys, scattered to (tokens, heads, keys); 0 at all others."""
    indices, probs, counts = ctx.saved_tensors
    padding = torch.arange(probs.shape[-1], device=probs.device) >= counts[..., None]
    flow = (grad * probs).masked_fill(padding, 0)  # (tokens, heads, k)
    flow = flow - probs * flow.sum(-1, keepdim=True)
    dense = flow.new_zeros(*flow.shape[:2], ctx.keys).scatter_add(-1, indices.long(), flow)
    return dense.to(ctx.dtype), None, None, None


_route.register_autograd(_backward, setup_context=_setup_context)
