"""What `route` computes, defined in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-5  # of the router's batch normalisation


def inverse_deviation(var: Tensor) -> Tensor:
    """``1 / sqrt(var + eps)``: computed once and shared with the kernel, so that both round alike."""
    return torch.rsqrt(var + EPS)


def not_finite(rows: int) -> ValueError:
    """The error about logits that have no routing."""
    return ValueError(
        f"logits: {rows} rows (a token's head) hold NaN or +inf, or nothing but -inf; finite logits expected (-inf "
        "masks a key). Look for an overflow in the hidden state or a damaged checkpoint."
    )


def check_rows(logits: Tensor) -> None:
    """Raises ValueError, saying how many, where a row has no routing."""
    bad = ~(logits <= torch.finfo(logits.dtype).max).all(-1) | (logits == float("-inf")).all(-1)
    if bad.any():
        raise not_finite(int(bad.sum()))


def route_reference(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Active keys and their probabilities, by the definition (paper, section 3); any device, differentiable in logits.

    ``n = (z - mean) / sqrt(var + 1e-5)``; a key is active where ``n >= min(max n, sigma)``, so at least one is; the
    probabilities are the softmax of the raw ``z`` over the active keys.

    Args:
        logits: (tokens, heads, keys) float32, or float64, in which case all is computed in float64.
        mean, var: (heads,) running statistics of the batch normalisation, in the dtype of ``logits``.
        sigma: threshold in standard deviations.

    Returns:
        Key indices (tokens, heads, k) int16, ascending; probabilities (tokens, heads, k); numbers of active keys
        (tokens, heads) int32. k is the largest number; slots past a row's number hold index 0 and probability 0.

    Raises:
        ValueError: a row holds NaN or +inf, or nothing but -inf.
    """
    check_rows(logits)
    normalised = (logits - mean[:, None]) * inverse_deviation(var)[:, None]
    threshold = normalised.amax(-1, keepdim=True).clamp(max=sigma)
    active = normalised >= threshold  # (tokens, heads, keys)
    dense = logits.masked_fill(~active, float("-inf")).softmax(-1)
    counts = active.sum(-1)
    width = int(counts.max()) if counts.numel() else 0
    token, head, key = active.nonzero(as_tuple=True)
    ends = counts.flatten().cumsum(0)  # of each row's run among the active entries, which lie row by row
    slot = torch.arange(len(key), device=key.device) - (ends - counts.flatten()).repeat_interleave(counts.flatten())
    where = (token, head, slot)
    shape = (*counts.shape, width)
    indices = torch.zeros(shape, dtype=torch.int16, device=logits.device).index_put(where, key.to(torch.int16))
    probs = torch.zeros(shape, dtype=logits.dtype, device=logits.device).index_put(where, dense[active])
    return indices, probs, counts.to(torch.int32)
