"""`mix`: what the output projections of an expert layer take in, from the active pairs only; both decompositions."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import Tensor

from ..library import has_kernel
from ..reference.mix import (
    factor_gradient,
    mix_horizontal_backward_reference,
    mix_horizontal_reference,
    mix_vertical_backward_reference,
    mix_vertical_reference,
)
from ..sparse import SparseRouting, activations, check_tensor, check_values, sides

HIDDEN_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

Horizontal = tuple[Tensor, Tensor]
Vertical = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@overload
def mix(hidden: Tensor, routing: SparseRouting, factors: Tensor | None = None) -> Horizontal: ...
@overload
def mix(hidden: tuple[Tensor, Tensor], routing: SparseRouting, factors: Tensor | None = None) -> Vertical: ...
def mix(
    hidden: Tensor | tuple[Tensor, Tensor], routing: SparseRouting, factors: Tensor | None = None
) -> Horizontal | Vertical:
    """Routed sums of sub-expert activations (paper, section 3): the inputs of the layer's output projections.

    With ``W[i, j] = S[i, j] sum_h g1[h, i] g2[h, j]``, S all ones where no factors are given, horizontal experts get
    ``top[j] = sum_i W[i, j] a[i]`` and ``bias[j] = sum_i W[i, j]``. Vertical ones get ``rows[i] = sum_j W[i, j]``,
    ``columns[j] = sum_i W[i, j]``, ``straight1[i] = rows[i] a1[i]``, ``cross1[i] = sum_j W[i, j] a2[j]``,
    ``cross2[j] = sum_i W[i, j] a1[i]`` and ``straight2[j] = columns[j] a2[j]``: what multiplies V11, V12, b1, V21, V22
    and b2 (in that order: V11, V12, b1 of straight1, cross1, rows). Probabilities need not sum to 1.

    Computed in float32 over the active pairs, with S exactly as without it; the same bits on every run, instruction set
    and number of threads. Differentiable in the activations, both lists of probabilities and S.

    Args:
        hidden: activations (tokens, keys, units) of horizontal experts' bottom halves, or ``(a1, a2)``, one such tensor
            of each key set, of vertical experts; float32, bfloat16 or float16 (float64 is computed in float64).
        routing: the tokens' routing.
        factors: S, (keys, keys).

    Returns:
        ``(top, bias)``, or ``(straight1, cross1, rows, cross2, straight2, columns)``, in the dtype of ``hidden``:
        (tokens, keys, units) each, but bias, rows and columns (tokens, keys).

    Raises:
        TypeError: an argument is no tensor, or of a dtype that is not listed.
        ValueError: a wrong shape or device.
        IndexError: the routing holds an index that is no key, or a count above its width.
    """
    given = activations(hidden, routing.num_keys)
    first = next(iter(given.values()))
    for name, a in given.items():
        if a.dtype not in HIDDEN_DTYPES or a.dtype != first.dtype:
            raise TypeError(f"{name} must be one of {HIDDEN_DTYPES}, the same for both key sets; got {a.dtype}.")
    compute = torch.float64 if first.dtype == torch.float64 else torch.float32
    arrays = sides(routing, compute, first.device, first.shape[0])
    if factors is not None:
        check_tensor("factors", factors, (routing.num_keys, routing.num_keys), first.device)
        factors = factors.to(compute)
    wide = [a.to(compute) for a in given.values()]
    out = _vertical(*wide, *arrays, factors) if len(wide) == 2 else _horizontal(*wide, *arrays, factors)
    return tuple(t.to(first.dtype) for t in out)  # type: ignore[return-value]  # as many as in `out`


@torch.library.custom_op("monet::mix_horizontal", mutates_args=())
def _horizontal(
    a: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor]:
    check_values(indices1, counts1, indices2, counts2, a.shape[1])
    arrays = _contiguous(a, indices1, probs1, counts1, indices2, probs2, counts2, factors)
    if _in_kernel(a):
        return torch.ops.monet.mix_horizontal_kernel(*arrays)
    return mix_horizontal_reference(*arrays)


@torch.library.custom_op("monet::mix_vertical", mutates_args=())
def _vertical(
    a1: Tensor,
    a2: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    check_values(indices1, counts1, indices2, counts2, a1.shape[1])
    arrays = _contiguous(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors)
    if _in_kernel(a1):
        return torch.ops.monet.mix_vertical_kernel(*arrays)
    return mix_vertical_reference(*arrays)


def _in_kernel(a: Tensor) -> bool:
    """The CUDA kernels know float32 only."""
    return has_kernel(a.device) and (a.dtype == torch.float32 or a.device.type == "cpu")


def _contiguous(*arrays: Tensor | None) -> list[Any]:
    return [None if a is None else a.contiguous() for a in arrays]


@_horizontal.register_fake
def _(a: Tensor, *_arrays: Tensor | None) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), a.new_empty(a.shape[:2])


@_vertical.register_fake
def _(a1: Tensor, *_arrays: Tensor | None) -> tuple[Tensor, ...]:
    units, keys = a1.shape, a1.shape[:2]
    return tuple(a1.new_empty(shape) for shape in (units, units, keys, units, units, keys))


@torch.library.custom_op("monet::mix_horizontal_backward", mutates_args=())
def _horizontal_backward(
    top: Tensor,
    bias: Tensor,
    a: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    arrays = _contiguous(top, bias, a, indices1, probs1, counts1, indices2, probs2, counts2, factors)
    if a.device.type == "cpu" and has_kernel(a.device):  # gradients have no CUDA kernel
        return torch.ops.monet.mix_horizontal_backward_kernel(*arrays)
    return mix_horizontal_backward_reference(*arrays)


@torch.library.custom_op("monet::mix_vertical_backward", mutates_args=())
def _vertical_backward(
    straight1: Tensor,
    cross1: Tensor,
    rows: Tensor,
    cross2: Tensor,
    straight2: Tensor,
    columns: Tensor,
    a1: Tensor,
    a2: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grads = _contiguous(straight1, cross1, rows, cross2, straight2, columns)
    arrays = _contiguous(a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors)
    if a1.device.type == "cpu" and has_kernel(a1.device):
        return torch.ops.monet.mix_vertical_backward_kernel(*grads, *arrays)
    return mix_vertical_backward_reference(*grads, *arrays)


@_horizontal_backward.register_fake
def _(_top: Tensor, _bias: Tensor, a: Tensor, *arrays: Tensor | None) -> tuple[Tensor, ...]:
    return _like(a, arrays[1], arrays[4])


@_vertical_backward.register_fake
def _(*arrays: Tensor | None) -> tuple[Tensor, ...]:
    return _like(arrays[6], arrays[7], arrays[9], arrays[12])


def _like(*arrays: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(a.new_empty(a.shape) for a in arrays if a is not None)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs)


def _horizontal_gradients(ctx: Any, top: Tensor, bias: Tensor) -> tuple[Tensor | None, ...]:
    a, *routing, factors = ctx.saved_tensors
    to_a, to_p, to_q = _horizontal_backward(top, bias, a, *routing, factors)
    to_factors = None
    if ctx.needs_input_grad[-1]:
        none, nothing = torch.zeros_like(a), torch.zeros_like(bias)
        to_factors = factor_gradient(none, none, nothing, top, none, bias, a, none, *routing)
    return to_a, None, to_p, None, None, to_q, None, to_factors


def _vertical_gradients(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    a1, a2, *routing, factors = ctx.saved_tensors
    to_a1, to_a2, to_p, to_q = _vertical_backward(*grads, a1, a2, *routing, factors)
    arrays = (*grads, a1, a2, *routing)
    to_factors = factor_gradient(*arrays) if ctx.needs_input_grad[-1] else None
    return to_a1, to_a2, None, to_p, None, None, to_q, None, to_factors


_horizontal.register_autograd(_horizontal_gradients, setup_context=_save)
_vertical.register_autograd(_vertical_gradients, setup_context=_save)
