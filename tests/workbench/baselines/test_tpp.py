"""Targeted probe perturbation, each step against a plain definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from monet_model import MonetForCausalLM
from workbench.analysis.windows import Windows
from workbench.baselines.sae import TopKSae
from workbench.baselines.tpp import (
    Cells,
    Probes,
    Written,
    pool,
    targeted_probe_perturbation,
    written_by_experts,
    written_by_units,
)
from workbench.baselines.units import Features, Neurons, Units

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny-vd"


def test_probes_tell_labels_apart() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [60, 30, 10])
    centres = rng.normal(size=(3, 5)) * 3
    x = torch.from_numpy(centres[label] + rng.normal(size=(100, 5))).float() * 7 + 100
    probes = Probes.fit(x, label)
    logits = x.double() @ probes.weight.T + probes.bias
    assert ((logits > 0).numpy() == (label[:, None] == np.arange(3))).mean() > 0.97


def test_the_score_by_hand() -> None:
    """Two labels, two documents each a part; unit 0 makes label 0, unit 1 label 1, unit 2 nothing."""
    label, measures = np.array([0, 0, 1, 1]), np.array([False, True, False, True])
    probes = Probes(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double(), torch.zeros(2).double())
    pooled = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    document, unit = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 2, 0, 2, 1, 1])
    activation = np.array([2, 1, 2, 1, 2, 2], np.float32)
    effect = np.array([[2, -2], [0, 0], [2, -2], [0, 0], [-2, 2], [-2, 2]], np.float32)
    rows = targeted_probe_perturbation(probes, pooled, label, measures, Written(3, document, unit, activation, effect))
    # Label 0 without unit 0: its document's logits are (0, 0), no longer yes; the other probe says no as it should.
    assert [row["units"] for row in rows] == [1, 2]
    for row in rows:
        assert (row["own"], row["others"], row["tpp"]) == (0.5, 0.0, 0.5)


@pytest.mark.parametrize("kind", ["neurons", "features"])
def test_what_units_write_is_their_part_of_the_probes(
    windows: Windows, dense: LlamaForCausalLM, sae: TopKSae, kind: str
) -> None:
    """All features with the bias and the error, or all neurons with attention and embedding, make the pooled stream."""
    units: Units = Neurons(dense) if kind == "neurons" else Features(dense, sae)
    probes = Probes(torch.randn(3, 16, dtype=torch.float64), torch.zeros(3))
    written = written_by_units(units, Cells(windows), probes.weight, 1)
    total = np.stack([np.bincount(written.cell, e, windows.documents) for e in written.effect.T], 1)
    sums, tokens = torch.zeros(windows.documents, 16), torch.zeros(windows.documents)
    for batch in windows.batches:
        parts = zip(units.activations(batch.ids), units.directions(1), strict=True)
        wrote = sum(values @ way for values, way in parts if way is not None) * (batch.row >= 0)[..., None]
        sums.index_add_(0, batch.document, wrote.sum(1))
        tokens.index_add_(0, batch.document, (batch.row >= 0).sum(1).float())
    expected = (sums / tokens[:, None]).double() @ probes.weight.T
    assert total == pytest.approx(expected.numpy(), abs=1e-3)
    assert written.units == sum(
        size for size, way in zip(units.sizes, units.directions(1), strict=True) if way is not None
    )


def test_what_experts_write_is_their_part_of_the_probes(windows: Windows) -> None:
    """The whole output of the group's expert layers, and single experts removed from one window by the model."""
    model = MonetForCausalLM.from_pretrained(GOLDEN).eval()
    probes = Probes(torch.randn(3, 32, dtype=torch.float64), torch.zeros(3))
    written = written_by_experts(model, Cells(windows), probes.weight, 1)
    outputs: list[torch.Tensor] = []
    hooks = [layer.moe.register_forward_hook(lambda *args: outputs.append(args[-1])) for layer in model.model.layers]
    sums, tokens = torch.zeros(windows.documents, 32), torch.zeros(windows.documents)
    for batch in windows.batches:
        outputs.clear()
        with torch.no_grad():
            model(batch.ids)
        sums.index_add_(0, batch.document, ((outputs[0] + outputs[1]) * (batch.row >= 0)[..., None]).sum(1))
        tokens.index_add_(0, batch.document, (batch.row >= 0).sum(1).float())
    for hook in hooks:
        hook.remove()
    total = np.stack([np.bincount(written.cell, e, windows.documents) for e in written.effect.T], 1)
    expected = (sums / tokens[:, None]).double() @ probes.weight.T
    assert total == pytest.approx(expected.numpy(), abs=1e-3)
    # Scores of a head sum to 1, those of a token to the number of heads.
    assert np.bincount(written.cell, written.activation) == pytest.approx(2.0, rel=1e-3)
    assert written.units == 16 * 16


def test_pooled_streams_are_means_over_tokens(windows: Windows, dense: LlamaForCausalLM) -> None:
    found = pool(dense, Cells(windows), 1)
    sums, tokens = torch.zeros(windows.documents, 16), torch.zeros(windows.documents)
    for batch in windows.batches:
        for ids, rows, document in zip(batch.ids, batch.row, batch.document, strict=True):
            hidden = dense.model(ids[None], output_hidden_states=True).hidden_states[2][0]
            sums[document] += hidden[rows >= 0].sum(0)
            tokens[document] += (rows >= 0).sum()
    assert found.numpy() == pytest.approx((sums / tokens[:, None]).numpy(), abs=1e-4)
