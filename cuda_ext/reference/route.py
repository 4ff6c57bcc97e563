"""The definition of `route` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-5  # epsilon of the router's batch normalisation


def inverse_deviation(var: Tensor) -> Tensor:
    """Return ``1 / sqrt(var + eps)``. The CUDA kernel takes it from here, so that both round alike."""
    return torch.rsqrt(var + EPS)


def not_finite(rows: int) -> ValueError:
    """Return the error about logits that have no routing."""
    return ValueError(
        f"logits: {rows} rows (one per token and head) hold NaN or +inf, or nothing but -inf; logits must be finite "
        "(-inf masks a key). Look for an overflow in the hidden state or a damaged checkpoint."
    )


def check_rows(logits: Tensor) -> None:
    """Raise ValueError if rows have no routing, and say how many."""
    bad = ~(logits <= torch.finfo(logits.dtype).max).all(-1) | (logits == float("-inf")).all(-1)
    if bad.any():
        raise not_finite(int(bad.sum()))


def route_reference(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the active keys and their probabilities by definition (arXiv 2412.04139, section 3), in plain PyTorch.

    The reference that ``cuda_ext.route`` is tested against. Runs on any device; differentiable in ``logits``. A key
    is active where ``n = (z - mean) / sqrt(var + 1e-5)`` reaches ``min(max n, sigma)``, so every row has at least one;
    the probabilities are the softmax of the raw ``z`` over the active keys.

    Args:
        logits: (tokens, heads, keys) float32, or float64, which is computed in float64.
        mean, var: (heads,) running statistics of the batch normalisation, in the dtype of ``logits``.
        sigma: threshold in standard deviations.

    Returns:
        ``(indices, probs, counts)`` as from ``cuda_ext.route``: (tokens, heads, k) int16 ascending keys, (tokens,
        heads, k) probabilities in the dtype of ``logits``, and (tokens, heads) int32 numbers of active keys. Slots from
        a row's count on hold index 0 and probability 0.

    Raises:
        ValueError: a row holds NaN or +inf, or nothing but -inf.

    Examples:
        >>> import torch
        >>> from cuda_ext import route, route_reference
        >>> logits = torch.randn(5, 2, 64, generator=torch.Generator().manual_seed(0))
        >>> mean, var = torch.zeros(2), torch.ones(2)
        >>> indices, probs, counts = route(logits, mean, var, sigma=1.5)
        >>> reference = route_reference(logits, mean, var, sigma=1.5)
        >>> torch.equal(indices, reference[0]), torch.allclose(probs, reference[1])
        (True, True)
    """
    check_rows(logits)
    normalised = (logits - mean[:, None]) * inverse_deviation(var)[:, None]
    threshold = normalised.amax(-1, keepdim=True).clamp(max=sigma)
    active = normalised >= threshold  # (tokens, heads, keys)
    dense = logits.masked_fill(~active, float("-inf")).softmax(-1)
    counts = active.sum(-1)
    width = int(counts.max()) if counts.numel() else 0
    token, head, key = active.nonzero(as_tuple=True)
    ends = counts.flatten().cumsum(0)  # end of each row among the active entries, which are sorted by row
    slot = torch.arange(len(key), device=key.device) - (ends - counts.flatten()).repeat_interleave(counts.flatten())
    where = (token, head, slot)
    shape = (*counts.shape, width)
    indices = torch.zeros(shape, dtype=torch.int16, device=logits.device).index_put(where, key.to(torch.int16))
    probs = torch.zeros(shape, dtype=logits.dtype, device=logits.device).index_put(where, dense[active])
    return indices, probs, counts.to(torch.int32)
