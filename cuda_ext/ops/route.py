"""`route`, and the op `monet::route` behind it, which supports autograd, fake tensors and `torch.compile`."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from ..library import CPU, has_kernel
from ..reference.dense import route_dense
from ..reference.route import check_rows, inverse_deviation, not_finite, route_reference
from ..sparse import MAX_KEYS, check_tensor, read_numbers
from ..transforms import transformed

LOGIT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def route(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the active keys of one key set and their routing probabilities, from the router's raw logits.

    A key is active where its normalised logit ``n = (z - mean) / sqrt(var + 1e-5)`` reaches ``min(max n, sigma)``, so
    every row has at least one active key. The probabilities are the softmax of the raw ``z`` over the active keys
    (arXiv 2412.04139, section 3). Computed in float32. Differentiable in ``logits`` through ``probs``; which keys are
    active is piecewise constant, so ``mean``, ``var`` and ``sigma`` get no gradient. Any order of derivative, forward
    mode and the transforms of ``torch.func`` work too; under the latter two, k is the number of keys.

    Args:
        logits: (tokens, heads, keys) raw router logits: float32, bfloat16 or float16, any strides; -inf masks a key.
        mean, var: (heads,) running mean and variance of the batch normalisation, on the device of ``logits``.
        sigma: threshold in standard deviations, ``Phi^-1(1 - k / keys)`` for about k active keys per row.

    Returns:
        ``(indices, probs, counts)``:

        - indices: (tokens, heads, k) int16 active keys, ascending; k is the largest count, so that no key is dropped.
        - probs: (tokens, heads, k) float32 routing probabilities, which sum to 1 per row.
        - counts: (tokens, heads) int32 number of active keys; slots from here on hold index 0 and probability 0.

    Raises:
        TypeError: an argument is not a tensor, or has a dtype that is not listed.
        ValueError: a wrong shape or device; no keys, or more than 32,767; statistics or sigma that are not finite, a
            negative variance; a row of logits with NaN or +inf, or with nothing but -inf.

    Examples:
        >>> import torch
        >>> from cuda_ext import route
        >>> logits = torch.tensor([[[0.1, 3.0, -1.0, 2.5]]])  # 1 token, 1 head, 4 keys
        >>> indices, probs, counts = route(logits, torch.zeros(1), torch.ones(1), sigma=2.0)
        >>> indices.tolist(), counts.tolist()
        ([[[1, 3]]], [[2]])
        >>> torch.allclose(probs, torch.tensor([3.0, 2.5]).softmax(0))
        True
    """
    _check(logits, mean, var, sigma)
    if transformed():
        return route_dense(logits.float(), mean.detach().float(), var.detach().float(), float(sigma))
    plain = not (torch.compiler.is_compiling() or (logits.requires_grad and torch.is_grad_enabled()))
    if plain and logits.device.type == "cpu" and has_kernel(logits.device):
        # The same as `_route`, without the tens of microseconds that a Python op costs.
        return _on_cpu(logits.float(), mean.float(), var.float(), float(sigma))
    # The CUDA kernel reads bfloat16 as it is; everything else is float32.
    direct = logits.dtype == torch.bfloat16 and logits.device.type == "cuda" and has_kernel(logits.device)
    return _route(logits if direct else logits.float(), mean.detach().float(), var.detach().float(), float(sigma))


def _check(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> None:
    """Check shapes and dtypes; the values are checked inside the op."""
    check_tensor("logits", logits, ("tokens", "heads", "keys"))
    if logits.dtype not in LOGIT_DTYPES:
        raise TypeError(f"logits must be float32, bfloat16 or float16; got {logits.dtype}. Use logits.float().")
    heads, keys = logits.shape[1:]
    if not 1 <= keys <= MAX_KEYS:
        raise ValueError(f"logits must have 1 to {MAX_KEYS} keys, as indices are 16-bit; got {keys}.")
    for name, value in (("mean", mean), ("var", var)):
        check_tensor(name, value, (heads,), logits.device)
        if not value.is_floating_point():
            raise TypeError(f"{name} must have a floating dtype; got {value.dtype}.")
    if not -math.inf < sigma < math.inf:  # torch.compile can trace comparisons of a symbolic number, not isfinite
        raise ValueError(f"sigma must be finite; got {sigma}.")


@torch.library.custom_op("monet::route", mutates_args=())
def _route(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    # float64 is for gradient checks only: `route` does not accept it, and no kernel supports it.
    if logits.dtype == torch.float64 or not has_kernel(logits.device):
        _check_statistics(mean, var)
        return route_reference(logits, mean, var, sigma)
    return (_on_cpu if logits.device.type == "cpu" else _on_gpu)(logits, mean, var, sigma)


def _check_statistics(mean: Tensor, var: Tensor) -> None:
    _refuse_statistics(*read_numbers(_sound_statistics(mean, var)))


def _sound_statistics(mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each of them can be used."""
    return mean.isfinite().all(), ((var >= 0) & var.isfinite()).all()


def _refuse_statistics(mean: int, var: int) -> None:
    """Raise ValueError unless both can be used."""
    if not mean:
        raise ValueError("mean holds NaN or an infinity; pass a router's running mean.")
    if not var:
        raise ValueError("var holds a negative value, NaN or an infinity; pass a router's running variance.")


def _on_cpu(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    try:
        return torch.ops.monet.route_kernel(logits.contiguous(), mean.contiguous(), var.contiguous(), sigma)
    except RuntimeError:  # the kernel checks values as it goes; repeat its checks for a message that says which failed
        _check_statistics(mean, var)
        check_rows(logits)
        raise


def _on_gpu(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Run the kernel with room for the expected number of keys, and once more if that was too little."""
    tokens, heads, keys = logits.shape
    if tokens * heads == 0:
        _check_statistics(mean, var)
        empty = logits.new_empty(tokens, heads, 0, dtype=torch.float32)
        return empty.short(), empty, empty.new_empty(tokens, heads, dtype=torch.int32)
    inputs = (logits.contiguous(), mean.contiguous(), inverse_deviation(var), sigma)
    width = expected_width(keys, sigma)
    indices, probs, counts = torch.ops.monet.route_padded(*inputs, width)
    # The kernel writes no more than it has room for, whatever the statistics: one wait for the GPU tells of everything.
    *sound, fewest, most = read_numbers([*_sound_statistics(mean, var), *counts.aminmax()])
    _refuse_statistics(*sound)
    if fewest < 0:  # how the kernel marks a row that has no routing
        raise not_finite(int((counts < 0).sum()))
    if most > width:
        indices, probs, counts = torch.ops.monet.route_padded(*inputs, most)
    return indices[..., :most].contiguous(), probs[..., :most].contiguous(), counts


@cache
def expected_width(keys: int, sigma: float) -> int:
    """Return the slots per row to try first: over twice the keys that a normal distribution has above sigma."""
    mean = keys * (1 - NormalDist().cdf(sigma))
    return min(keys, 16 * math.ceil((2 * mean + 16) / 16))


def _shapes_may_vary() -> bool:
    """Return whether something that traces shapes as symbols asks for those of an op."""
    try:
        context = torch.library.get_ctx()
    except RuntimeError:
        return False
    # PyTorch has no public way to ask. Fake tensors on their own have no such symbols; compiling and exporting has.
    return getattr(context, "_shape_env", None) is not None


@_route.register_fake
def _shapes(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    tokens, heads, keys = logits.shape
    width: int | torch.SymInt = keys  # on meta tensors, and fake ones whose shapes must be numbers: as many as can be
    if _shapes_may_vary():
        # Where torch.compile may not take the width as it comes, this makes it leave the op out of its graph.
        width = torch.library.get_ctx().new_dynamic_size()
    return (
        logits.new_empty(tokens, heads, width, dtype=torch.int16),
        logits.new_empty(tokens, heads, width, dtype=mean.dtype),
        logits.new_empty(tokens, heads, dtype=torch.int32),
    )


if CPU.loaded:
    torch.library.register_fake("monet::route_kernel", lambda *inputs: _shapes(*inputs[:4]))


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
