"""`mix`: the routed sums inside an expert layer, over active pairs only, for horizontal and vertical experts."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import Tensor

from ..library import has_kernel
from ..reference.dense import mix_horizontal_dense, mix_vertical_dense
from ..reference.mix import (
    factor_gradient,
    mix_horizontal_backward_reference,
    mix_horizontal_reference,
    mix_vertical_backward_reference,
    mix_vertical_reference,
)
from ..sparse import SparseRouting, activations, check_tensor, check_values, sides
from ..transforms import transformed

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
    """Return the routed sums of hidden activations that an expert layer's output projections take.

    With routing weights ``W[i, j] = S[i, j] sum_h g1[h, i] g2[h, j]`` (arXiv 2412.04139, section 3), these sums stand
    in for all keys x keys expert outputs, which are never formed. They are computed in float32 over the active pairs
    alone, with the same bits on every run and instruction set and with any number of threads. Differentiable in the
    activations, both sets of probabilities, and S, any number of times, and by the transforms of ``torch.func``.
    Probabilities need not sum to 1.

    Args:
        hidden: (tokens, keys, units) activations of horizontal experts, or a pair ``(a1, a2)`` of such tensors, one per
            key set, of vertical experts; float32, bfloat16 or float16 (float64 is computed in float64).
        routing: the routing of these tokens, a ``cuda_ext.routing.Routing``.
        factors: S, (keys, keys), scales single experts: 0 ablates one. None (default): all ones.

    Returns:
        Tensors in the dtype of ``hidden``, ``(top, bias)`` for horizontal experts:

        - top: (tokens, keys, units) ``sum_i W[i, j] a[i]`` per key j, the input of V.
        - bias: (tokens, keys) ``sum_i W[i, j]``, which weighs b.

        ``(straight1, cross1, rows, cross2, straight2, columns)`` for vertical experts:

        - straight1: (tokens, keys, units) ``rows[i] a1[i]``, the input of V11.
        - cross1: (tokens, keys, units) ``sum_j W[i, j] a2[j]``, the input of V12.
        - rows: (tokens, keys) ``sum_j W[i, j]``, which weighs b1.
        - cross2: (tokens, keys, units) ``sum_i W[i, j] a1[i]``, the input of V21.
        - straight2: (tokens, keys, units) ``columns[j] a2[j]``, the input of V22.
        - columns: (tokens, keys) ``sum_i W[i, j]``, which weighs b2.

    Raises:
        TypeError: an argument is not a tensor, or has a dtype that is not listed.
        ValueError: a wrong shape or device.
        IndexError: the routing holds an index that is not a key, or a count above its width.

    Examples:
        >>> import torch
        >>> from cuda_ext import mix
        >>> from cuda_ext.routing import Routing
        >>> g1 = torch.tensor([[[1.0, 0.0]]])  # 1 token, 1 head, 2 keys
        >>> g2 = torch.tensor([[[0.25, 0.75]]])
        >>> hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])  # 2 units per key
        >>> top, bias = mix(hidden, Routing.from_dense(g1, g2))
        >>> top.tolist()
        [[[0.25, 0.5], [0.75, 1.5]]]
        >>> bias.tolist()
        [[0.25, 0.75]]
    """
    inputs = activations(hidden, routing.num_keys)
    first = next(iter(inputs.values()))
    for name, a in inputs.items():
        if a.dtype not in HIDDEN_DTYPES or a.dtype != first.dtype:
            raise TypeError(f"{name} must be one of {HIDDEN_DTYPES}, the same for both key sets; got {a.dtype}.")
    compute = torch.float64 if first.dtype == torch.float64 else torch.float32
    arrays = sides(routing, compute, first.device, first.shape[0])
    if factors is not None:
        check_tensor("factors", factors, (routing.num_keys, routing.num_keys), first.device)
        factors = factors.to(compute)
    # The CPU's kernels read bfloat16 as it is; everything else is computed from float32.
    direct = first.dtype == torch.bfloat16 and first.device.type == "cpu" and has_kernel(first.device)
    hiddens = list(inputs.values()) if direct and not transformed() else [a.to(compute) for a in inputs.values()]
    op: Any = _vertical if len(hiddens) == 2 else _horizontal
    if transformed():
        op = mix_vertical_dense if len(hiddens) == 2 else mix_horizontal_dense
    out: Any = op(*hiddens, *arrays, factors)
    return tuple(t.to(first.dtype) for t in out)  # as many as in `out`


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
    if _kernel_serves(a):
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
    if _kernel_serves(a1):
        return torch.ops.monet.mix_vertical_kernel(*arrays)
    return mix_vertical_reference(*arrays)


def _kernel_serves(a: Tensor) -> bool:
    """Return whether a compiled kernel takes these activations: the CUDA kernels take float32 alone."""
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
    if a.device.type == "cpu" and has_kernel(a.device):  # there is no CUDA kernel for gradients
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


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs)


def _horizontal_gradients(ctx: Any, top: Tensor, bias: Tensor) -> tuple[Tensor | None, ...]:
    a, *routing, factors = ctx.saved_tensors
    dtype = a.dtype
    if torch.is_grad_enabled() or ctx.needs_input_grad[-1]:  # by definitions, which compute in one precision
        top, bias, a = (_wide(tensor) for tensor in (top, bias, a))
    backward: Any = mix_horizontal_backward_reference if torch.is_grad_enabled() else _horizontal_backward
    to_a, to_p, to_q = backward(top, bias, a, *routing, factors)
    to_factors = None
    if ctx.needs_input_grad[-1]:
        # Horizontal experts are vertical ones without a second activation, of which only cross2 and columns are used.
        no_units, no_keys = torch.zeros_like(a), torch.zeros_like(bias)
        to_factors = factor_gradient(no_units, no_units, no_keys, top, no_units, bias, a, no_units, *routing)
    return to_a.to(dtype), None, to_p, None, None, to_q, None, to_factors


def _vertical_gradients(ctx: Any, *incoming: Tensor) -> tuple[Tensor | None, ...]:
    a1, a2, *routing, factors = ctx.saved_tensors
    dtype, grads = a1.dtype, list(incoming)
    if torch.is_grad_enabled() or ctx.needs_input_grad[-1]:  # by definitions, which compute in one precision
        a1, a2, *grads = (_wide(tensor) for tensor in (a1, a2, *grads))
    # Gradients are on in a backward pass that is to be differentiated itself, which the definition can be.
    backward: Any = mix_vertical_backward_reference if torch.is_grad_enabled() else _vertical_backward
    to_a1, to_a2, to_p, to_q = backward(*grads, a1, a2, *routing, factors)
    arrays = (*grads, a1, a2, *routing)
    to_factors = factor_gradient(*arrays) if ctx.needs_input_grad[-1] else None
    return to_a1.to(dtype), to_a2.to(dtype), None, to_p, None, None, to_q, None, to_factors


_horizontal.register_autograd(_horizontal_gradients, setup_context=_save)
_vertical.register_autograd(_vertical_gradients, setup_context=_save)
