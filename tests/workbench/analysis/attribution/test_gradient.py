"""Gradient attribution against autograd through the experts' own factors; ablation against explicit edits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from monet_model import MonetForCausalLM
from workbench.analysis import ablate, attribute, attribute_gradient, compare_with_ablation
from workbench.errors import BadInputError, NotFoundError

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5]])
DECOMPOSITIONS = pytest.mark.parametrize("decompose", ["vertical", "horizontal"])


def factor_gradients(model: MonetForCausalLM, target: Any) -> dict[int, Tensor]:
    """Derivative of the target by every group's factors at 1, by autograd: layer that owns the router -> (E, E)."""
    keys = model.config.moe_experts
    factors = {group.start: torch.ones(keys, keys, requires_grad=True) for group in model.config.routing_groups}
    with model.edit_experts(factors):
        logits = model(IDS).logits[0, -1]
    value = target(logits) if callable(target) else logits[target]
    return dict(zip(factors, torch.autograd.grad(value, list(factors.values())), strict=True))


@DECOMPOSITIONS
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("target", [7, lambda logits: logits.log_softmax(-1)[7]])
def test_attribute_gradient_equals_autograd_through_factors(
    make_model: Any, decompose: str, groups: int, target: Any
) -> None:
    """Summed over positions and the layers of a group; a factor of an inactive expert has no gradient."""
    model = make_model(moe_decompose=decompose, moe_groups=groups)
    table = attribute_gradient(model, IDS, target)
    for owner, expected in factor_gradients(model, target).items():
        rows = table[table["layer"].between(owner, owner + groups - 1)]
        summed = np.bincount(rows["expert"], rows["contribution"], minlength=64).reshape(8, 8)
        assert np.abs(summed - expected.numpy()).max() < 1e-5 * expected.abs().max()


def test_attribute_gradient_of_the_last_layer_is_direct_attribution(golden: MonetForCausalLM) -> None:
    """No attention follows it; there, its rows are those of the direct attribution."""
    table = attribute_gradient(golden, IDS, 7, [3])
    acts = table["position"] == IDS.shape[1] - 1
    assert (table.loc[~acts, "contribution"] == 0).all()
    assert (table.loc[acts, "contribution"] != 0).any()
    assert list(table.loc[acts, "expert"]) == list(attribute(golden, IDS, 7).experts.query("layer == 3")["expert"])


def test_attribute_gradient_takes_chosen_layers(golden: MonetForCausalLM) -> None:
    every = attribute_gradient(golden, IDS, 7)
    some = attribute_gradient(golden, IDS, 7, [2, 1])
    assert list(some["layer"].unique()) == [1, 2]
    assert some.equals(every[every["layer"].isin([1, 2])].reset_index(drop=True))
    assert every.equals(every.sort_values(["layer", "position", "expert"]))
    with pytest.raises(NotFoundError, match="there is no layer 4; the model has the layers 0 to 3"):
        attribute_gradient(golden, IDS, 7, [4])


def test_attribute_gradient_works_on_frozen_models_and_under_no_grad(make_model: Any) -> None:
    model = make_model()
    expected = attribute_gradient(model, IDS, 7)
    with torch.no_grad():
        assert attribute_gradient(model.requires_grad_(False), IDS, 7).equals(expected)


def test_attribute_gradient_counts_edits_in_force(make_model: Any) -> None:
    """A removed expert has no row, and a nested factor's gradient is that at the edited model."""
    model = make_model(moe_groups=4)
    keep = torch.ones(8, 8)
    keep[2] = 0
    with model.edit_experts({0: keep}):
        table = attribute_gradient(model, IDS, 7)
        expected = factor_gradients(model, 7)[0]
    assert not table["expert"].between(16, 23).any()
    summed = np.bincount(table["expert"], table["contribution"], minlength=64).reshape(8, 8)
    assert np.abs(summed - expected.numpy()).max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("target", [7, (7, 9), lambda logits: logits.log_softmax(-1)[7]])
@torch.no_grad()
def test_ablate_equals_explicit_removal(make_model: Any, target: Any) -> None:
    model = make_model()
    read = {int: lambda z: z[7], tuple: lambda z: z[7] - z[9]}.get(type(target), target)
    active = attribute(model, IDS, 7).experts.query("layer == 2")["expert"].iloc[:2].tolist()
    changes = ablate(model, IDS, target, [(2, active[0]), (0, 3), (2, active[1])])
    for change, layer, expert in zip(changes, (2, 0, 2), (active[0], 3, active[1]), strict=True):
        factors = torch.ones(64)
        factors[expert] = 0
        with model.edit_experts({layer: factors.view(8, 8)}):
            removed = read(model(IDS).logits[0, -1])
        assert change == pytest.approx(float(removed - read(model(IDS).logits[0, -1])), abs=1e-6)


def test_ablate_refuses_an_expert_that_is_not_there(golden: MonetForCausalLM) -> None:
    with pytest.raises(BadInputError, match="there is no expert -1"):
        ablate(golden, IDS, 7, [(0, -1)])


def test_compare_with_ablation_agrees_with_its_parts(golden: MonetForCausalLM) -> None:
    found = compare_with_ablation(golden, IDS, 100, n=12)
    table = found.table
    assert len(table) == 12
    assert list(table["gradient"].abs()) == sorted(table["gradient"].abs(), reverse=True)
    assert set(table["layer"]) <= {0, 2}
    assert table["ablation"].to_numpy() == pytest.approx(
        ablate(golden, IDS, 100, zip(table["layer"], table["expert"], strict=True))
    )
    for name in ("direct", "gradient"):
        assert found.spearman[name] == pytest.approx(spearmanr(table[name], table["ablation"]).statistic)
    direct = attribute(golden, IDS, 100).experts
    first = table.iloc[0]
    rows = direct[(direct["expert"] == first["expert"]) & direct["layer"].between(first["layer"], first["layer"] + 1)]
    assert first["direct"] == pytest.approx(-rows["contribution"].sum())
    assert found.to_json()["experts"][0]["expert"] == first["expert"]


def test_compare_with_ablation_ranks_gradients_high_where_experts_write_little(make_model: Any) -> None:
    """Where experts write little, removal is close to linear: ranks by gradient are ranks by ablation."""
    model = make_model(moe_groups=4)
    with torch.no_grad():
        for layer in model.model.layers:
            for name in ("v11", "v12", "v21", "v22"):
                getattr(layer.moe, name).weight.mul_(1e-2)
            layer.moe.b1.mul_(1e-2)
            layer.moe.b2.mul_(1e-2)
    found = compare_with_ablation(model, IDS, 7, n=20)
    assert found.spearman["gradient"] > 0.99 > found.spearman["direct"]


def test_compare_with_ablation_needs_two_experts(golden: MonetForCausalLM) -> None:
    with pytest.raises(BadInputError, match="at least 2 experts, got 1"):
        compare_with_ablation(golden, IDS, 100, n=1)
