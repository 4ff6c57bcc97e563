"""Cosines of experts' outputs against outputs written out by the plain definition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import output_directions
from workbench.errors import WorkbenchError
from workbench.store import Run

Cut = Callable[[list[int], int, int], list[tuple[list[int], int]]]


def test_cosines_are_those_of_outputs_written_out(run: Run, model: MonetForCausalLM, cut: Cut) -> None:
    """Each expert's output at the mean activations of its keys, from the plain definition, over the group's layers."""
    group = 1
    found = output_directions(run, model, group)
    first = run.group_layers[group]
    outputs = []
    for layer in range(first, first + model.config.moe_groups):
        outputs.append(_outputs_by_definition(run, model, group, layer, cut))
    dense = torch.cat(outputs, 1)
    for expert in (0, run.num_keys + 3):
        expected = torch.nn.functional.cosine_similarity(dense, dense[expert : expert + 1])
        cosine = found.cosines(expert)
        known = ~np.isnan(cosine)
        assert (known == found.used.flatten().numpy()).all()
        assert cosine[known] == pytest.approx(expected.numpy()[known], abs=1e-5)
        best = found.similar(expert, 4)
        assert best["cosine"].is_monotonic_decreasing
        assert expert not in best["expert"].tolist()
        others = np.delete(cosine, expert)
        assert best["cosine"].iloc[0] == np.nanmax(others)


def _outputs_by_definition(run: Run, model: MonetForCausalLM, group: int, layer: int, cut: Cut) -> torch.Tensor:
    """(experts, hidden), a loop over all."""
    moe, keys = model.model.layers[layer].moe, run.num_keys
    sums: dict[int, torch.Tensor] = {}
    weights = [torch.zeros(keys, 1), torch.zeros(keys, 1)]
    inputs: list[torch.Tensor] = []
    handle = moe.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    for doc in range(len(run.documents)):
        ids, bos = run.input_ids(doc).tolist(), int(not pd.isna(run.documents["bos"][doc]))
        for window, again in cut(ids, bos, run.manifest["settings"]["context"]):
            with torch.no_grad():
                out = model(torch.tensor([window]), output_router_probs=True, use_cache=False)
            x = inputs.pop()[0, again or bos :]
            hidden = moe.hidden(x)
            hidden = hidden if isinstance(hidden, tuple) else (hidden,)
            for side, units in enumerate(hidden):
                g = out.router_probs[run.group_layers[group]][side][0, again or bos :].sum(1)  # (tokens, keys)
                sums[side] = sums.get(side, 0) + (g[..., None] * units).sum(0)
                weights[side] += g.sum(0)[:, None]
    handle.remove()
    a = [sums[side] / weights[side].clamp(min=1e-30) for side in sums]
    rows = []
    with torch.no_grad():
        for i in range(keys):
            for j in range(keys):
                if len(a) == 1:
                    v = moe.v.weight.view(-1, keys, a[0].shape[1])
                    rows.append(v[:, j] @ a[0][i] + moe.b[j])
                    continue
                v11, v12, v21, v22 = (
                    part.weight.view(-1, keys, a[0].shape[1]) for part in (moe.v11, moe.v12, moe.v21, moe.v22)
                )
                left = v11[:, i] @ a[0][i] + v12[:, i] @ a[1][j] + moe.b1[i]
                rows.append(torch.cat([left, v21[:, j] @ a[0][i] + v22[:, j] @ a[1][j] + moe.b2[j]]))
    return torch.stack(rows)


def test_directions_of_a_group_or_expert_that_is_not_there(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(WorkbenchError, match="no group 9"):
        output_directions(run, model, 9)
    with pytest.raises(WorkbenchError, match="no expert 256"):
        output_directions(run, model, 0).cosines(256)
