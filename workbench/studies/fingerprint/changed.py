"""How far the experts of a model write other things than those of its base, on clean text."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monet_model.record import record_pass

from ...analysis.diff.outputs import difference
from ...progress import Progress, silent

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...analysis.windows import Windows


@torch.inference_mode()
def output_changes(
    model: MonetForCausalLM, base: MonetForCausalLM, windows: Windows, advance: Progress = silent
) -> NDArray[np.float64]:
    """Return how far the mean output of every expert is from that of the same expert of the base.

    Both read what the experts' layer reads in ``model``, so that only the experts' own weights tell them apart. As in
    ``workbench.analysis.output_directions``, each hidden unit has its mean activation over the tokens that use its key,
    weighted by the key's probability: an approximation, which keeps outputs a product of keys. The difference of two
    such outputs is one as well, so its length is known for all experts without forming any.

    Args:
        model: a model in evaluation mode.
        base: one of the same shape, in evaluation mode.
        windows: clean text.
        advance: called with the tokens read since its last call.

    Returns:
        (groups * E * E,) the root of the sum over a group's layers of the squared length of the difference, in units of
        the residual stream; ``group * E * E + id`` is an expert's place.
    """
    groups, keys = model.config.routing_groups, model.config.moe_experts
    sums: dict[tuple[int, int], list[Tensor]] = {}  # layer and key set -> sums of units in model and base
    weights = torch.zeros(len(groups), 2, keys, dtype=torch.float64, device=model.device)
    for batch in windows.batches:
        record, _ = record_pass(model, partial(model.model, batch.ids.to(model.device), use_cache=False))
        window, position = (at.to(model.device) for at in (batch.row >= 0).nonzero(as_tuple=True))
        where = window, position
        for group, layers in enumerate(groups):
            used = [g.sum(1).double() for g in record.layers[layers[0]].routing_at(where).dense()]  # (tokens, keys)
            weights[group] += torch.stack([g.sum(0) for g in used])
            for layer in layers:
                x = record.layers[layer].x[where]
                for which, one in enumerate((model, base)):
                    hidden = one.model.layers[layer].moe.hidden(x.to(one.device))
                    for side, units in enumerate([hidden] if isinstance(hidden, Tensor) else hidden):
                        totals = sums.setdefault((layer, side), [torch.zeros(()), torch.zeros(())])
                        totals[which] = totals[which].to(model.device) + torch.einsum(
                            "tk,tku->ku", used[side], units.to(model.device).double()
                        )
        advance(int(batch.real.sum()))
    squares = torch.zeros(len(groups), keys, keys, dtype=torch.float64)
    for group, layers in enumerate(groups):
        for layer in layers:
            both = []
            for which, one in enumerate((model, base)):
                means = [
                    sums[at][which] / weights[group, at[1], :, None].clamp(min=1e-30)
                    for at in sorted(sums)
                    if at[0] == layer
                ]
                both.append(one.model.layers[layer].moe.output_parts([mean.to(one.device) for mean in means]))
            for mine, other in zip(*both, strict=True):
                squares[group] += difference(other, mine).squares().cpu()
    changes: NDArray[np.float64] = squares.clamp(min=0).sqrt().flatten().numpy()
    return changes
