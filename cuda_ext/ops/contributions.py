"""`contributions`: what each active expert adds along a direction, the strongest of every token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..library import has_kernel
from ..reference.contributions import contributions_reference
from ..sparse import SparseRouting, activations, check_tensor, check_values, sides


def contributions(
    hidden: Tensor | tuple[Tensor, Tensor],
    routing: SparseRouting,
    directions: tuple[Tensor, ...],
    top: int,
    factors: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``S[i, j] G[i, j] (direction . E_ij(x))`` of the experts that count most at each token; no gradient.

    ``direction . E_ij`` is ``a[i] . d[j] + c[j]`` for horizontal experts and ``a1[i] . d11[i] + c1[i] + a2[j] . d12[i]
    + a1[i] . d21[j] + a2[j] . d22[j] + c2[j]`` for vertical ones, where ``d`` is ``direction . V`` of each hidden unit
    (the half of the direction that V writes to) and ``c`` is ``direction . b``. Only active pairs are formed.

    Args:
        hidden: activations, (tokens, keys, units) or a pair of such, as for :func:`cuda_ext.mix`, float32 or float64.
        routing: the tokens' routing.
        directions: ``(d, c)`` or ``(d11, d12, d21, d22, c1, c2)``: d (rows, keys, units) and c (rows, keys), rows being
            1, or the number of tokens where each has a direction of its own; in the dtype of ``hidden``.
        top: how many experts of a token, at most; all active ones where it is large enough.
        factors: S, (keys, keys).

    Returns:
        Flat expert ids (tokens, n) int64, largest absolute contribution first, of equals the lower id, -1 where a token
        has fewer; their contributions (tokens, n), 0 there; and the sum over ALL active experts (tokens,) float64.
        n is ``top``, or the most pairs that a token can have here.

    Raises:
        TypeError: an argument is no tensor, or of a wrong dtype.
        ValueError: a wrong shape, device, or number of directions; ``top`` below 1.
        IndexError: the routing holds an index that is no key, or a count above its width.
    """
    given = activations(hidden, routing.num_keys)
    first, a2 = next(iter(given.values())), given.get("hidden[1]")
    pair = a2 is not None
    names = ("d11", "d12", "d21", "d22", "c1", "c2") if pair else ("d21", "c2")
    if top < 1:
        raise ValueError(f"top must be at least 1; got {top}.")
    if len(directions) != len(names):
        raise ValueError(f"directions must be {len(names)} tensors for these experts; got {len(directions)}.")
    if first.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"hidden must be float32 or float64; got {first.dtype}.")
    tokens, keys, units = first.shape
    if factors is not None:
        given["factors"] = check_tensor("factors", factors, (keys, keys), first.device)
    rows: int | str = "1 or tokens"
    for at, (name, value) in enumerate(zip(names, directions, strict=True)):
        shape = (rows, keys, units) if name.startswith("d") else (rows, keys)
        check_tensor(f"directions[{at}]", value, shape, first.device)
        rows = value.shape[0]
        given[f"directions[{at}]"] = value
    if rows not in (1, tokens):
        raise ValueError(f"directions must have 1 row, or one for each of {tokens} tokens; got {rows}.")
    for name, value in given.items():
        if value.dtype != first.dtype:
            raise TypeError(f"{name} must be {first.dtype}, as hidden; got {value.dtype}.")
    arrays = sides(routing, first.dtype, first.device, tokens)
    projections = dict.fromkeys(("d11", "d12", "d21", "d22", "c1", "c2")) | dict(zip(names, directions, strict=True))
    return _contributions(first, a2, *arrays, factors, *projections.values(), top)


@torch.library.custom_op("monet::contributions", mutates_args=())
def _contributions(
    a1: Tensor,
    a2: Tensor | None,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
    d11: Tensor | None,
    d12: Tensor | None,
    d21: Tensor | None,
    d22: Tensor | None,
    c1: Tensor | None,
    c2: Tensor | None,
    top: int,
) -> tuple[Tensor, Tensor, Tensor]:
    check_values(indices1, counts1, indices2, counts2, a1.shape[1])
    pairs = (counts1.long() * counts2).sum(1)
    most = min(a1.shape[1] ** 2, int(pairs.max()) if len(pairs) else 0)
    top = max(1, min(top, most))
    given = (a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors, d11, d12, d21, d22, c1, c2)
    arrays: list[Any] = [a if a is None else a.contiguous() for a in given]
    if a1.device.type == "cuda" and a1.dtype == torch.float32 and has_kernel(a1.device):
        experts, values, counts, totals = torch.ops.monet.contribution_pairs(*arrays, max(1, most))
        return _strongest(experts, values, counts, totals, top)
    if a1.device.type == "cpu" and has_kernel(a1.device):
        return torch.ops.monet.contributions_kernel(*arrays, top)
    return contributions_reference(*arrays, top)  # type: ignore[call-arg]  # a tuple of no length


@_contributions.register_fake
def _(a1: Tensor, *_arguments: object) -> tuple[Tensor, Tensor, Tensor]:
    width = torch.library.get_ctx().new_dynamic_size()
    experts = a1.new_empty(len(a1), width, dtype=torch.int64)
    return experts, a1.new_empty(len(a1), width), a1.new_empty(len(a1), dtype=torch.float64)


def _strongest(
    experts: Tensor, values: Tensor, counts: Tensor, totals: Tensor, top: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The strongest of the pairs that the CUDA kernel wrote, in no order, to (tokens, capacity)."""
    there = torch.arange(experts.shape[1], device=experts.device) < counts[:, None]
    size = values.abs().nan_to_num(nan=float("inf"), posinf=float("inf")).masked_fill(~there, -1.0)
    order = experts.masked_fill(~there, torch.iinfo(torch.int32).max).argsort(dim=1)
    order = order.gather(1, size.gather(1, order).argsort(dim=1, descending=True, stable=True))[:, :top]
    there = there.gather(1, order)
    return experts.gather(1, order).long().where(there, -1), values.gather(1, order).where(there, 0.0), totals
