"""Neurons of dense layers: they sum to their layer's part of the logit, and by gradient equal autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import attribute, attribute_gradient, attribute_neurons
from workbench.errors import BadInputError, NotFoundError, UnsupportedError

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5]])


@pytest.mark.parametrize("target", [None, 7, (7, 9), lambda logits: logits.log_softmax(-1)[7]])
def test_neurons_sum_to_their_layers_part_of_the_logit(mixed: MonetForCausalLM, target: Any) -> None:
    table, found = attribute_neurons(mixed, IDS, target), attribute(mixed, IDS, target)
    parts = found.rest.set_index("component")["contribution"]
    assert table["layer"].unique().tolist() == mixed.config.dense_layers
    assert set(table["position"]) == {6}
    for layer, rows in table.groupby("layer"):
        assert rows["neuron"].tolist() == list(range(20))
        bias = mixed.model.layers[layer].mlp.down_proj.bias
        if bias is None:
            assert rows["contribution"].sum() == pytest.approx(parts[f"L{layer}mlp"], abs=1e-5)
        else:  # is no neuron's
            assert abs(rows["contribution"].sum() - parts[f"L{layer}mlp"]) > 1e-3


def test_a_neuron_is_what_zeroing_it_takes_from_the_last_layer(make_model: Any) -> None:
    """Behind the last layer there is the final norm alone, whose scale is held."""
    model = make_model(dense_layers=[3], intermediate_size=20, hidden_act="silu")
    table = attribute_neurons(model, IDS, 7).set_index("neuron")["contribution"]
    seen: list[torch.Tensor] = []
    hook = model.model.norm.register_forward_pre_hook(lambda module, args: seen.append(args[0][0, -1].detach()))
    model(IDS)
    with torch.no_grad():
        model.model.layers[3].mlp.down_proj.weight[:, 4] = 0
    model(IDS)
    hook.remove()
    scale = (seen[0].double().square().mean() + model.config.rms_norm_eps).rsqrt()
    read = model.lm_head.weight[7].double() * model.model.norm.weight.double() * scale
    assert float(read @ (seen[0] - seen[1]).double()) == pytest.approx(table[4], abs=1e-6)


@pytest.mark.parametrize("target", [7, lambda logits: logits.log_softmax(-1)[7]])
def test_neurons_by_gradient_equal_autograd(mixed: MonetForCausalLM, target: Any) -> None:
    """A factor in front of each neuron at each position, differentiated at 1."""
    layer = mixed.config.dense_layers[0]
    factors = torch.ones(7, 20, requires_grad=True)
    down = mixed.model.layers[layer].mlp.down_proj
    hook = down.register_forward_pre_hook(lambda module, args: (args[0] * factors,))
    logits = mixed(IDS).logits[0, -1]
    hook.remove()
    (expected,) = torch.autograd.grad(target(logits) if callable(target) else logits[target], factors)
    rows = attribute_neurons(mixed, IDS, target, [layer], gradient=True)
    assert rows["position"].tolist() == np.repeat(range(7), 20).tolist()
    found = rows["contribution"].to_numpy().reshape(7, 20)
    assert np.abs(found - expected.numpy()).max() < 1e-5 * expected.abs().max()
    every = attribute_neurons(mixed, IDS, target, gradient=True)
    assert every[every["layer"] == layer].reset_index(drop=True).equals(rows)


def test_the_default_target_is_the_likeliest_token(mixed: MonetForCausalLM) -> None:
    likeliest = int(mixed(IDS).logits[0, -1].argmax())
    for gradient in (False, True):
        found = attribute_neurons(mixed, IDS, gradient=gradient)
        assert found.equals(attribute_neurons(mixed, IDS, likeliest, gradient=gradient))


def test_gradients_of_experts_leave_dense_layers_out(mixed: MonetForCausalLM) -> None:
    rows, dense = attribute_gradient(mixed, IDS, 7), mixed.config.dense_layers
    assert sorted({*rows["layer"], *dense}) == list(range(mixed.config.num_hidden_layers))
    assert not set(rows["layer"]) & set(dense)
    with pytest.raises(NotFoundError, match=f"layer {dense[0]} is dense and has no experts; attribute_neurons"):
        attribute_gradient(mixed, IDS, 7, dense)


def test_neurons_are_refused_where_there_are_none(mixed: MonetForCausalLM, golden: MonetForCausalLM) -> None:
    with pytest.raises(UnsupportedError, match="has no dense layers"):
        attribute_neurons(golden, IDS, 7)
    layer = mixed.config.routing_groups[0][0]
    with pytest.raises(UnsupportedError, match=f"layer {layer} has experts in place of neurons; its dense layers are"):
        attribute_neurons(mixed, IDS, 7, [layer])
    with pytest.raises(NotFoundError, match="there is no layer 9"):
        attribute_neurons(mixed, IDS, 7, [9])
    with pytest.raises(BadInputError, match="outside the vocabulary"):
        attribute_neurons(mixed, IDS, 99)
