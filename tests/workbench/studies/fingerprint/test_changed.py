from __future__ import annotations

import numpy as np
import pytest
import torch

from monet_model.record import record_pass
from workbench.analysis.windows import read_windows
from workbench.checkpoint import load_model
from workbench.studies.fingerprint.changed import output_changes

from .marked import Marked


def test_changes_are_lengths_of_differences_of_mean_outputs(either: Marked) -> None:
    """By the definition, expert by expert: outputs at the mean units of its keys, with both models' weights."""
    run, model, base = either.run, either.model, either.base
    windows = read_windows(run, run.documents.head(4))
    changes = output_changes(model, base, windows).reshape(len(run.groups), -1)
    keys, layers = model.config.moe_experts, model.config.routing_groups[0]
    sums: dict[tuple[int, int, int], torch.Tensor] = {}
    weight = torch.zeros(2, keys, dtype=torch.float64)
    with torch.no_grad():
        for batch in windows.batches:
            record, _ = record_pass(model, lambda ids=batch.ids: model.model(ids, use_cache=False))  # type: ignore[misc]
            where = (batch.row >= 0).nonzero(as_tuple=True)
            used = [g.sum(1).double() for g in record.layers[layers[0]].routing_at(where).dense()]
            weight += torch.stack([g.sum(0) for g in used])
            for layer in layers:
                for which, one in enumerate((model, base)):
                    hidden = one.model.layers[layer].moe.hidden(record.layers[layer].x[where])
                    for side, units in enumerate([hidden] if isinstance(hidden, torch.Tensor) else hidden):
                        part = torch.einsum("tk,tku->ku", used[side], units.double())
                        sums[layer, side, which] = sums.get((layer, side, which), 0) + part
        for i, j in ((0, 0), (3, 7), (15, 2)):
            total = 0.0
            for layer in layers:
                outputs = []
                for which, one in enumerate((model, base)):
                    sides = sorted(side for at, side, mine in sums if at == layer and mine == which)
                    means = [sums[layer, side, which] / weight[side, :, None].clamp(min=1e-30) for side in sides]
                    moe = one.model.layers[layer].moe.double()
                    pair = torch.tensor([i]), torch.tensor([j])
                    own = [mean[key] for mean, (_, key) in zip(means, moe.units(pair), strict=True)]
                    outputs.append(moe.written(own, pair)[0])
                    moe.float()
                total += float((outputs[0] - outputs[1]).square().sum())
            assert changes[0, i * keys + j] == pytest.approx(np.sqrt(total), abs=1e-5)
    assert changes[0].max() > 0


def test_a_model_is_not_changed_from_itself(either: Marked) -> None:
    windows = read_windows(either.run, either.run.documents.head(2))
    counted: list[float] = []
    changes = output_changes(
        either.model, load_model(either.run.model_path), windows, lambda units=1, note="": counted.append(units)
    )
    assert changes.max() < 1e-6
    assert sum(counted) == windows.tokens
