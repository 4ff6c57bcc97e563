"""What the CUDA kernels compute, for stand-ins: the definitions of the ops, in the kernels' own layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cuda_ext import library
from cuda_ext.library import Library
from cuda_ext.reference.accumulate import accumulate_reference
from cuda_ext.reference.contributions import contributions_reference
from cuda_ext.reference.mix import mix_horizontal_reference, mix_vertical_reference
from monet_model import projection, router
from monet_model.projection import is_dense

from .gpu import StandIn, unset_fake_temporarily


def _padded(logits: Tensor, mean: Tensor, scale: Tensor, sigma: float, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The active keys of each row, with room for ``width``; a row that has no routing is marked by its count."""
    logits = logits.float()
    normalised = (logits - mean[:, None]) * scale[:, None]
    active = normalised >= normalised.amax(-1, keepdim=True).clamp(max=sigma)
    counts = active.sum(-1, dtype=torch.int32)
    padding = torch.arange(logits.shape[-1]) >= counts[..., None]
    keys = (~active).to(torch.int8).argsort(dim=-1, stable=True).masked_fill(padding, 0)
    probs = logits.masked_fill(~active, float("-inf")).softmax(-1).gather(-1, keys).masked_fill(padding, 0)
    bad = ~(logits <= torch.finfo(logits.dtype).max).all(-1) | (logits == float("-inf")).all(-1)
    return keys[..., :width].short(), probs[..., :width], counts.masked_fill(bad, -1)


def _pairs(*arrays: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All pairs of each token, in any order: here by falling contribution."""
    experts, values, totals = contributions_reference(*arrays)
    return experts.int(), values, (experts >= 0).sum(1, dtype=torch.int32), totals


KERNELS: dict[str, Callable[..., Any]] = {
    "route_padded": _padded,
    "mix_horizontal_kernel": mix_horizontal_reference,
    "mix_vertical_kernel": mix_vertical_reference,
    "accumulate_kernel": accumulate_reference,
    "contribution_pairs": _pairs,
}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the ops find kernels for a GPU; those for the processor stay what they are."""
    monkeypatch.setattr(library, "CUDA", Library(None, ""))
    for module in (projection, router):  # which take weights of another class for quantised ones
        monkeypatch.setattr(module, "is_dense", lambda value: isinstance(value, StandIn) or is_dense(value))
    for name, definition in KERNELS.items():
        compiled = getattr(torch.ops.monet, name, None)
        monkeypatch.setattr(torch.ops.monet, name, _either(definition, compiled), raising=False)


def _either(definition: Callable[..., Any], compiled: Any) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        if not any(isinstance(one, StandIn) for one in arguments):
            return compiled(*arguments)
        with unset_fake_temporarily(), torch.inference_mode(False), torch.no_grad():
            out = definition(*(one.values if isinstance(one, StandIn) else one for one in arguments))
        return None if out is None else tuple(map(StandIn, out))

    if compiled is not None:
        run.default = compiled.default  # type: ignore[attr-defined]  # which torch looks up when a mode is on
    return run
