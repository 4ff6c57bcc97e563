"""`contributions`: what each active expert adds along a direction, for the strongest experts per token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..library import has_kernel
from ..reference.contributions import contributions_reference
from ..sparse import SparseRouting, activations, check_tensor, check_values, sides
from ..transforms import refuse_transforms


def contributions(
    hidden: Tensor | tuple[Tensor, Tensor],
    routing: SparseRouting,
    directions: tuple[Tensor, ...],
    top: int,
    factors: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the experts that contribute most along a direction, per token: ``S[i, j] G[i, j] (direction . E_ij(x))``.

    This is the expert term of direct logit attribution when the direction is an unembedding vector. The output of
    expert (i, j) (arXiv 2412.04139, section 3) is projected without being formed: ``direction . E_ij`` is ``a[i] . d[j]
    + c[j]`` for horizontal experts, and ``a1[i] . d11[i] + c1[i] + a2[j] . d12[i] + a1[i] . d21[j] + a2[j] . d22[j] +
    c2[j]`` for vertical ones. Here ``d`` is ``direction . V`` per hidden unit (with the half of the direction that V
    writes to) and ``c`` is ``direction . b`` per key. Only active pairs are evaluated. Not differentiable.

    Args:
        hidden: (tokens, keys, units) activations, or a pair of such tensors, as in ``cuda_ext.mix``; float32 or
            float64.
        routing: the routing of these tokens, a ``cuda_ext.routing.Routing``.
        directions: ``(d, c)`` for horizontal or ``(d11, d12, d21, d22, c1, c2)`` for vertical experts, each d (rows,
            keys, units) and each c (rows, keys). One row serves all tokens; as many rows as tokens give each token its
            own direction. In the dtype of ``hidden``.
        top: most experts to return per token; every active one is returned if ``top`` is large enough.
        factors: S, (keys, keys), scales single experts. None (default): all ones.

    Returns:
        ``(experts, values, totals)``, where n is ``top``, or fewer if no token has that many active pairs:

        - experts: (tokens, n) int64 flat ids ``i * keys + j``, by falling absolute contribution, ties by rising id; -1
          where a token has fewer active experts.
        - values: (tokens, n) their contributions, in the unit of the direction (logits for an unembedding vector); 0
          where there is no expert.
        - totals: (tokens,) float64 sum over ALL active experts, returned or not.

    Raises:
        TypeError: an argument is not a tensor, or has a wrong dtype.
        ValueError: a wrong shape, device, or number of directions; ``top`` below 1.
        NotImplementedError: a transform of ``torch.func`` or forward-mode differentiation is active.
        IndexError: the routing holds an index that is not a key, or a count above its width.

    Examples:
        >>> import torch
        >>> from cuda_ext import contributions
        >>> from cuda_ext.routing import Routing
        >>> routing = Routing.from_dense(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.25, 0.75]]]))
        >>> hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])  # 1 token, 2 keys, 2 units
        >>> d, c = torch.ones(1, 2, 2), torch.zeros(1, 2)
        >>> experts, values, totals = contributions(hidden, routing, (d, c), top=1)
        >>> experts.tolist(), values.tolist()  # expert (0, 1) scores 0.75 and writes 1 + 2 along the direction
        ([[1]], [[2.25]])
        >>> totals.tolist()
        [3.0]
    """
    refuse_transforms("contributions")
    inputs = activations(hidden, routing.num_keys)
    first, a2 = next(iter(inputs.values())), inputs.get("hidden[1]")
    names = ("d21", "c2") if a2 is None else ("d11", "d12", "d21", "d22", "c1", "c2")
    if top < 1:
        raise ValueError(f"top must be at least 1; got {top}.")
    if len(directions) != len(names):
        raise ValueError(f"directions must be {len(names)} tensors for these experts; got {len(directions)}.")
    if first.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"hidden must be float32 or float64; got {first.dtype}.")
    tokens, keys, units = first.shape
    if factors is not None:
        inputs["factors"] = check_tensor("factors", factors, (keys, keys), first.device)
    rows: int | str = "1 or tokens"
    for at, (name, value) in enumerate(zip(names, directions, strict=True)):
        shape = (rows, keys, units) if name.startswith("d") else (rows, keys)
        check_tensor(f"directions[{at}]", value, shape, first.device)
        rows = value.shape[0]
        inputs[f"directions[{at}]"] = value
    if rows not in (1, tokens):
        raise ValueError(f"directions must have 1 row, or one for each of {tokens} tokens; got {rows}.")
    for name, value in inputs.items():
        if value.dtype != first.dtype:
            raise TypeError(f"{name} must be {first.dtype}, like hidden; got {value.dtype}.")
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
    inputs = (a1, a2, indices1, probs1, counts1, indices2, probs2, counts2, factors, d11, d12, d21, d22, c1, c2)
    arrays: list[Any] = [a if a is None else a.contiguous() for a in inputs]
    if a1.device.type == "cuda" and a1.dtype == torch.float32 and has_kernel(a1.device):
        experts, values, counts, totals = torch.ops.monet.contribution_pairs(*arrays, max(1, most))
        return _strongest(experts, values, counts, totals, top)
    if a1.device.type == "cpu" and has_kernel(a1.device):
        return torch.ops.monet.contributions_kernel(*arrays, top)
    return contributions_reference(*arrays, top)  # type: ignore[call-arg]  # the number of arrays is not in the type


@_contributions.register_fake
def _(a1: Tensor, *_arguments: object) -> tuple[Tensor, Tensor, Tensor]:
    width = torch.library.get_ctx().new_dynamic_size()
    experts = a1.new_empty(len(a1), width, dtype=torch.int64)
    return experts, a1.new_empty(len(a1), width), a1.new_empty(len(a1), dtype=torch.float64)


def _strongest(
    experts: Tensor, values: Tensor, counts: Tensor, totals: Tensor, top: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the strongest of the pairs that the CUDA kernel wrote to (tokens, capacity) in arbitrary order."""
    written = torch.arange(experts.shape[1], device=experts.device) < counts[:, None]
    size = values.abs().nan_to_num(nan=float("inf"), posinf=float("inf")).masked_fill(~written, -1.0)
    order = experts.masked_fill(~written, torch.iinfo(torch.int32).max).argsort(dim=1)
    order = order.gather(1, size.gather(1, order).argsort(dim=1, descending=True, stable=True))[:, :top]
    written = written.gather(1, order)
    return experts.gather(1, order).long().where(written, -1), values.gather(1, order).where(written, 0.0), totals
