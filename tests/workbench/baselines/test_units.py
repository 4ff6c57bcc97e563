"""Neurons and features of a dense model, each against a plain definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from workbench.analysis.removal.heldout import HeldOut
from workbench.analysis.windows import Windows
from workbench.baselines.sae import TopKSae, middle_layer, residual
from workbench.baselines.units import Features, Neurons, Units, unit_sums
from workbench.store import Run


def test_neurons_write_what_their_layer_adds(dense: LlamaForCausalLM) -> None:
    ids = torch.randint(3, 128, (2, 9))
    outputs: list[torch.Tensor] = []
    hooks = [layer.mlp.register_forward_hook(lambda *args: outputs.append(args[-1])) for layer in dense.model.layers]
    dense(ids)
    for hook in hooks:
        hook.remove()
    neurons = Neurons(dense)
    found, ways = neurons.activations(ids), neurons.directions(1)
    assert [way is None for way in ways] == [False, False, True, True]
    for values, way, output in zip(found[:2], ways[:2], outputs[:2], strict=True):
        assert way is not None
        assert (values @ way).numpy() == pytest.approx(output.numpy(), abs=1e-5)


def test_a_removed_neuron_is_one_without_its_column(dense: LlamaForCausalLM) -> None:
    ids, gone = torch.randint(3, 128, (2, 9)), [np.array([3, 7]), np.empty(0, np.int64), np.array([0]), np.arange(24)]
    with Neurons(dense).removing(gone):
        found = dense(ids).logits
    kept = [layer.mlp.down_proj.weight.clone() for layer in dense.model.layers]
    for layer, units in zip(dense.model.layers, gone, strict=True):
        layer.mlp.down_proj.weight[:, torch.from_numpy(units)] = 0
    expected = dense(ids).logits
    for layer, weight in zip(dense.model.layers, kept, strict=True):
        layer.mlp.down_proj.weight.copy_(weight)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert not torch.allclose(found, dense(ids).logits, atol=1e-2)


def test_a_removed_feature_leaves_the_stream_and_the_error_stays(dense: LlamaForCausalLM, sae: TopKSae) -> None:
    ids, at = torch.randint(3, 128, (2, 9)), middle_layer(dense)
    x = residual(dense, ids)
    features, values = sae.encode(x)
    gone = int(features[0, 0, 0])
    expected = x - 3.0 * torch.where(features == gone, values, 0).sum(-1, keepdim=True) * sae.decoder[gone]
    seen: list[torch.Tensor] = []
    with Features(dense, sae).removing([np.array([gone])]):
        hook = dense.model.layers[at + 1].register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
        dense(ids)
        hook.remove()
    assert seen[0].numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    with Features(dense, sae).removing([np.empty(0, np.int64)]):
        assert torch.equal(dense(ids).logits, dense(ids).logits)


@pytest.mark.parametrize("kind", ["neurons", "features"])
def test_sums_are_of_sizes_of_activations(
    run: Run, windows: Windows, dense: LlamaForCausalLM, sae: TopKSae, kind: str, cut: Any
) -> None:
    """One document after the other, its start of text left out."""
    units: Units = Neurons(dense) if kind == "neurons" else Features(dense, sae)
    documents = HeldOut.split(run, 0).choosing
    label = documents["label"].to_numpy()
    found = unit_sums(units, windows, label, 3)
    mass = [np.zeros((3, size)) for size in units.sizes]
    active, tokens = [np.zeros((3, size)) for size in units.sizes], np.zeros(3)
    context = run.manifest["settings"]["context"]
    for row in documents.itertuples():
        bos = [] if np.isnan(row.bos) else [int(row.bos)]
        ids = bos + run.tokens(slice(row.row, row.row + row.tokens))["token"].tolist()
        for window, again in cut(ids, len(bos), context):
            skip = again or len(bos)
            for place, values in enumerate(units.activations(torch.tensor([window]))):
                mass[place][row.label] += values[0, skip:].abs().sum(0).numpy()
                active[place][row.label] += (values[0, skip:] != 0).sum(0).numpy()
        tokens[row.label] += row.tokens
    for place, sums in enumerate(found):
        assert sums.mass == pytest.approx(mass[place], rel=1e-4, abs=1e-6)
        assert sums.tokens.tolist() == active[place].tolist()
        assert sums.label_tokens.tolist() == tokens.tolist()
