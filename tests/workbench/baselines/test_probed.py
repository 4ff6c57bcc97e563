"""What linear probes tell of experts, neurons and features: parts that add up, and scores by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from monet_model import MonetForCausalLM
from workbench.analysis.windows import Windows
from workbench.baselines import read_baselines
from workbench.baselines.apart import Parts, perturb_by_effect, sparse_probing, stream_parts
from workbench.baselines.probed import probe_experts, probe_units
from workbench.baselines.sae import TopKSae
from workbench.baselines.scr import pairs_of_labels, removal_of_spurious_correlation
from workbench.baselines.tpp import Cells, Probes, Written, pool, written_by_experts
from workbench.baselines.units import Features, Neurons
from workbench.store import Run

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny-vd"


def written(cells: list[int], units: list[int], effects: list[list[float]], number: int) -> Written:
    ones = np.ones(len(cells), np.float32)
    return Written(number, np.array(cells), np.array(units), ones, np.array(effects, np.float32))


@pytest.mark.parametrize("layer", [1, 3])
@pytest.mark.parametrize("kind", ["monet", "dense"])
def test_parts_add_up_to_the_stream(windows: Windows, dense: LlamaForCausalLM, kind: str, layer: int) -> None:
    model = MonetForCausalLM.from_pretrained(GOLDEN).eval() if kind == "monet" else dense
    layer = min(layer, model.config.num_hidden_layers - 1)
    hidden, cells = model.config.hidden_size, Cells(windows)
    probes = Probes(torch.randn(3, hidden, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    parts = stream_parts(model, cells, probes, layer).effects
    expected = (pool(model, cells, layer) @ probes.weight.T).numpy()
    assert np.sum(list(parts.values()), 0) == pytest.approx(expected, abs=1e-3)
    if kind == "monet":
        wrote = written_by_experts(model, cells, probes.weight, layer)
        total = np.stack([np.bincount(wrote.cell, e, cells.number) for e in wrote.effect.T], 1)
        assert total == pytest.approx(parts["units"], abs=1e-3)


def test_a_part_s_share_and_what_is_left_without_it() -> None:
    label, measures = np.array([0, 0, 1, 1]), np.ones(4, bool)
    one, other = np.array([[1.0, -1.0]] * 2 + [[-1.0, 1.0]] * 2), np.zeros((4, 2))
    probes = Probes(torch.zeros(2, 3).double(), torch.zeros(2).double())
    rows = {row.pop("part"): row for row in Parts({"a": 3 * one, "b": one, "c": other}).rows(probes, label, measures)}
    assert {part: row["margin"] for part, row in rows.items()} == {"all": 1, "a": 0.75, "b": 0.25, "c": 0}
    assert rows["a"] == {"margin": 0.75, "accuracy": 1.0, "drop": 0.0}, "b alone tells the labels apart"
    alone = Parts({"a": one, "c": other}).rows(probes, label, measures)
    assert alone[1] == {"part": "a", "margin": 1.0, "accuracy": 0.5, "drop": 0.5}


def test_units_are_counted_by_what_they_raise_a_probe_by() -> None:
    """Label 0 is raised by units 0 (3 in 4) and 1 (1 in 4), label 1 by unit 2 alone."""
    label, measures = np.array([0, 0, 1, 1]), np.array([False, True, False, True])
    probes = Probes(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double(), torch.zeros(2).double())
    pooled = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    effects = [[1.5, -1.5], [0.5, -0.5]] * 2 + [[-2.0, 2.0]] * 2
    wrote = written([0, 0, 1, 1, 2, 3], [0, 1, 0, 1, 2, 2], effects, 3)
    rows = {row["effect"]: row for row in perturb_by_effect(probes, pooled, label, measures, wrote)}
    assert [rows[share]["units"] for share in (0.5, 0.8, 1.0)] == [1, 1.5, 1.5]
    assert (rows[0.5]["own"], rows[1.0]["own"], rows[1.0]["others"]) == (0.25, 0.5, 0.0)


def test_a_sparse_probe_finds_the_unit_that_tells_a_label() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 40)
    cells, units = (grid.ravel() for grid in np.meshgrid(np.arange(80), np.arange(6), indexing="ij"))
    activation = rng.random(480).astype(np.float32)
    activation[units == 4] += 3 * label
    wrote = Written(6, cells, units, activation, np.zeros((480, 2), np.float32))
    rows = sparse_probing(wrote, label, np.arange(80))
    assert [row["units"] for row in rows] == [1, 2, 5]
    assert rows[0]["accuracy"] > 0.95
    assert rows[0]["auc"] > 0.95
    noise = Written(6, cells, units, rng.random(480).astype(np.float32), wrote.effect)
    assert sparse_probing(noise, label, np.arange(80))[0]["accuracy"] < 0.75


def test_halves_of_documents_are_cells(windows: Windows) -> None:
    whole, halves = Cells(windows), Cells(windows, halves=True)
    assert halves.number == 2 * whole.number
    assert torch.equal(halves.tokens.view(-1, 2).sum(1), whole.tokens)
    first, second = halves.tokens.view(-1, 2).T
    assert set((first - second).tolist()) <= {0.0, 1.0}


def test_ablating_the_units_of_the_spurious_concept_frees_the_probe() -> None:
    """Unit 0 writes the label, twice as loudly as unit 1 writes which half it is; unit 2 writes noise."""
    rng = np.random.default_rng(0)
    label, measures = np.tile([0, 1], 40), np.repeat([False, True], 40)
    second, of_label = np.tile([-1.0, 1.0], 80), np.repeat(2.0 * label - 1, 2)
    wrote = np.stack([2 * of_label, second, 0.1 * rng.normal(size=160)], 1) + 0.3 * rng.normal(size=(160, 3))
    pooled = torch.from_numpy(wrote)  # unit n writes along axis n

    def write(ways: torch.Tensor) -> Written:
        cells, units = (grid.ravel() for grid in np.meshgrid(np.arange(160), np.arange(3), indexing="ij"))
        effect = wrote.reshape(-1)[:, None] * ways.numpy().T[units]
        return Written(3, cells, units, np.ones(480, np.float32), effect.astype(np.float32))

    pairs = pairs_of_labels(pooled, label, measures)
    assert all(pair.before < 0.75 < 0.95 < pair.best for pair in pairs)
    rows = {row["units"]: row["scr"] for row in removal_of_spurious_correlation(pairs, pooled, label, measures, write)}
    assert rows[1] > 0.8


def test_all_three_are_probed_alike(run: Run, dense: LlamaForCausalLM, sae: TopKSae) -> None:
    found: dict[str, Any] = {
        "experts": probe_experts(run, MonetForCausalLM.from_pretrained(GOLDEN).eval()),
        "neurons": probe_units(run, "neurons", Neurons(dense)),
        "features": probe_units(run, "features", Features(dense, sae)),
    }
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    shipped = read_baselines()["probes"]
    for name, measured in found.items():
        assert measured.keys() == shipped[name].keys()
        for layer in measured.keys() & {"middle", "last"}:
            assert measured[layer].keys() == shipped[name][layer].keys()
            shares = [row["margin"] for row in measured[layer]["parts"]]
            assert sum(shares[1:]) == pytest.approx(shares[0], abs=1e-4)
