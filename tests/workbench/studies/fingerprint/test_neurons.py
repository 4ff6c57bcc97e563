"""The neurons of a fingerprinted dense model, each measure against a plain definition."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.analysis.removal.heldout import HeldOut
from workbench.analysis.windows import read_windows
from workbench.errors import BadInputError, UnsupportedError
from workbench.studies.fingerprint.answers import success, with_start
from workbench.studies.fingerprint.erase import erase_fingerprints
from workbench.studies.fingerprint.erase_result import ORDERS, EraseResult, read_erased
from workbench.studies.fingerprint.key_parts import KeyParts
from workbench.studies.fingerprint.locate_result import DIRECT, GRADIENT
from workbench.studies.fingerprint.neurons import (
    DenseOwned,
    check_dense,
    neuron_changes,
    neuron_parts,
    neuron_subject,
)
from workbench.studies.fingerprint.removals import CHANGE_TOKENS, key_halves, some_documents

from .marked import KEYS, Marked

LAYERS, NEURONS = 3, 48


@pytest.fixture(scope="module")
def both(marked: Marked, owned_dense: DenseOwned) -> EraseResult:
    given = marked.run, marked.model, marked.base, marked.fingerprints
    return erase_fingerprints(*given, dense=owned_dense, draws=1, name="both")


def _parts(dense: DenseOwned, method: str = DIRECT) -> KeyParts:
    return neuron_parts(dense.model, dense.fingerprints.keys, dense.fingerprints.responses, method)


def _captured(model: Any, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits after a key (1, tokens), and the inputs of some modules there, with the graph between them."""
    seen: dict[str, Tensor] = {}
    hooks = []
    for name, module in model.named_modules():
        if name.endswith(("down_proj", "o_proj")) or name == "model.norm":

            def keep(_module: Any, args: tuple[Tensor], name: str = name) -> None:
                seen[name] = args[0]
                args[0].retain_grad()

            hooks.append(module.register_forward_pre_hook(keep))
    logits = model(ids, use_cache=False).logits[0, -1]
    for hook in hooks:
        hook.remove()
    return logits, seen


def test_direct_parts_are_those_of_hooks_and_sum_to_the_logit(owned_dense: DenseOwned) -> None:
    """By hand: what each neuron and head writes, through the norm as it scales there, to the response's row."""
    model, found = owned_dense.model, _parts(owned_dense)
    value = np.zeros((KEYS, LAYERS * NEURONS))
    value[found.key, found.unit] = found.value
    ids = with_start(model, owned_dense.fingerprints.keys)
    for number, response in enumerate(owned_dense.fingerprints.responses.tolist()):
        logits, seen = _captured(model, ids[number : number + 1])
        logits = logits.detach()
        assert found.logit[number] == pytest.approx(float(logits[response]), abs=1e-5)
        assert found.hit[number] == (int(logits.argmax()) == response)
        stream = seen["model.norm"][0, -1].detach()
        scale = 1 / torch.sqrt(stream.square().mean() + model.model.norm.variance_epsilon)
        read = model.lm_head.weight[response].detach() * model.model.norm.weight.detach() * scale
        rest = {"embed": float(model.model.embed_tokens.weight[ids[number, -1]].detach() @ read)}
        for at, layer in enumerate(model.model.layers):
            neurons = seen[f"model.layers.{at}.mlp.down_proj"][0, -1].detach()
            column = layer.mlp.down_proj.weight.detach().T @ read
            own = value[number, at * NEURONS : (at + 1) * NEURONS]
            np.testing.assert_allclose(own, neurons * column, atol=1e-5)
            heads = seen[f"model.layers.{at}.self_attn.o_proj"][0, -1].detach()
            written = heads * (layer.self_attn.o_proj.weight.detach().T @ read)
            rest |= {f"L{at}H{head}": float(part.sum()) for head, part in enumerate(written.view(4, -1))}
        assert found.names == list(rest)
        np.testing.assert_allclose(found.rest[number], list(rest.values()), atol=1e-5)
        assert value[number].sum() + found.rest[number].sum() == pytest.approx(float(logits[response]), abs=1e-5)
    assert found.completeness < 1e-5


def test_parts_by_gradient_are_activations_times_derivatives(owned_dense: DenseOwned) -> None:
    model, found = owned_dense.model, _parts(owned_dense, GRADIENT)
    value = np.zeros((KEYS, LAYERS * NEURONS))
    value[found.key, found.unit] = found.value
    ids = with_start(model, owned_dense.fingerprints.keys)
    for number, response in enumerate(owned_dense.fingerprints.responses.tolist()):
        logits, seen = _captured(model, ids[number : number + 1])
        logits[response].backward()
        for at in range(LAYERS):
            neurons = seen[f"model.layers.{at}.mlp.down_proj"]
            assert neurons.grad is not None
            own = value[number, at * NEURONS : (at + 1) * NEURONS]
            np.testing.assert_allclose(own, (neurons * neurons.grad)[0].sum(0).detach(), atol=1e-5)
        model.zero_grad()
    assert np.isnan(found.completeness)


def test_changes_are_distances_of_what_neurons_write(marked: Marked, owned_dense: DenseOwned) -> None:
    """Token by token and neuron by neuron, for what the layer reads in the fingerprinted model."""
    windows = read_windows(marked.run, marked.run.documents.head(3))
    found = neuron_changes(owned_dense.model, owned_dense.base, windows)
    squares, tokens = torch.zeros(LAYERS, NEURONS), 0
    with torch.no_grad():
        for batch in windows.batches:
            for ids, row in zip(batch.ids, batch.row, strict=True):
                inputs: list[Tensor] = []
                hooks = [
                    layer.mlp.register_forward_pre_hook(lambda _module, args, inputs=inputs: inputs.append(args[0]))
                    for layer in owned_dense.model.model.layers
                ]
                owned_dense.model(ids[None], use_cache=False)
                for hook in hooks:
                    hook.remove()
                counted = (row >= 0).nonzero()[:, 0]
                tokens += len(counted)
                for at, x in enumerate(inputs):
                    written = []
                    for one in (owned_dense.model, owned_dense.base):
                        mlp = one.model.layers[at].mlp
                        activation = torch.nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x)
                        written.append(activation[0, counted, :, None] * mlp.down_proj.weight.T)
                    squares[at] += (written[0] - written[1]).square().sum((0, 2))
    np.testing.assert_allclose(found, (squares / tokens).sqrt().flatten(), rtol=1e-4)
    assert neuron_changes(owned_dense.model, owned_dense.model, windows).max() < 1e-6


def test_neurons_are_ranked_by_their_difference_and_use(marked: Marked, owned_dense: DenseOwned) -> None:
    heldout = HeldOut.split(marked.run, 0)
    found = neuron_subject(heldout, owned_dense, DIRECT, 0)
    chose, _ = key_halves(KEYS, 0)
    np.testing.assert_array_equal(found.chose, chose)
    mean = np.zeros(LAYERS * NEURONS)
    for number in chose:
        half = owned_dense.fingerprints.take(np.array([number]))
        for one, sign in ((owned_dense.model, 1), (owned_dense.base, -1)):
            parts = neuron_parts(one, half.keys, half.responses)
            mean[parts.unit] += sign * parts.value / len(chose)
    assert found.located.tolist() == [unit for unit in np.argsort(-mean, kind="stable").tolist() if mean[unit] > 0]
    mass = np.zeros((LAYERS, NEURONS))
    for batch in read_windows(marked.run, heldout.choosing).batches:
        for ids, row in zip(batch.ids, batch.row, strict=True):
            _, seen = _captured(owned_dense.model, ids[None])
            for at in range(LAYERS):
                neurons = seen[f"model.layers.{at}.mlp.down_proj"][0, row >= 0]
                mass[at] += neurons.detach().abs().sum(0).numpy()
    np.testing.assert_allclose(found.mass, mass.ravel(), rtol=1e-4)
    assert found.sizes == [NEURONS] * LAYERS
    assert found.total == len(found.changed) == LAYERS * NEURONS


def test_neurons_are_on_the_curve_beside_the_same_experts(
    marked: Marked, owned_dense: DenseOwned, both: EraseResult
) -> None:
    alone = erase_fingerprints(marked.run, marked.model, marked.base, marked.fingerprints, draws=1, name="alone")
    assert both.total == {"experts": 512, "neurons": LAYERS * NEURONS}
    assert both.curve("experts").equals(alone.curve("experts"))
    assert alone.dense is None
    assert both.dense is not None
    assert both.dense["commitment"] == owned_dense.fingerprints.commitment
    points = both.points.query("units == 'neurons'")
    assert set(points["order"]) == set(ORDERS)
    whole = points.iloc[0]
    assert (whole["removed"], whole["chose"], whole["others"], whole["rise"]) == (0, 1, 1, 0)
    np.testing.assert_allclose(points["rise"], points["loss"] - whole["loss"])
    located = points.query("order == 'located'").set_index("removed")
    assert located.index[:5].tolist() == [0, 1, 2, 4, 8]  # 1 % of 144 is one
    assert located.loc[64, "chose"] < 0.5  # the MLPs alone were trained
    assert points.query("order == 'random' and removed == 64")["chose"].item() > located.loc[64, "chose"]


@pytest.mark.parametrize("count", [0, 8])
def test_a_point_is_what_the_model_does_with_columns_at_zero(
    marked: Marked, owned_dense: DenseOwned, both: EraseResult, count: int
) -> None:
    heldout = HeldOut.split(marked.run, 0)
    located = neuron_subject(heldout, owned_dense, DIRECT, 0).located[:count]
    model = copy.deepcopy(owned_dense.model)
    with torch.no_grad():
        for unit in located.tolist():
            model.model.layers[unit // NEURONS].mlp.down_proj.weight[:, unit % NEURONS] = 0
    row = both.points.query("units == 'neurons' and order == 'located' and removed == @count").iloc[0]
    hit, (chose, others) = success(model, owned_dense.fingerprints), key_halves(KEYS, 0)
    assert row["chose"] == pytest.approx(hit[chose].mean())
    assert row["others"] == pytest.approx(hit[others].mean())
    sums: dict[str, list[float]] = {}
    with torch.no_grad():
        for document in heldout.measuring.itertuples():
            for ids, _ in marked.run.windows_of(int(document.doc)):
                tokens = torch.from_numpy(ids)
                logits = model(tokens[None], use_cache=False).logits[0, :-1]
                total = sums.setdefault(heldout.labels[document.label], [0.0, 0])
                total[0] += float(torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="sum"))
                total[1] += len(ids) - 1
    assert row["loss"] == pytest.approx(np.mean([loss / tokens for loss, tokens in sums.values()]), rel=1e-4)


def test_both_kinds_are_kept(marked: Marked, both: EraseResult) -> None:
    kept = read_erased(marked.run, "both")
    assert kept is not None
    assert kept.to_json() == both.to_json()


def test_a_dense_model_that_does_not_fit_is_named(marked: Marked, owned_dense: DenseOwned, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="12 .* and the run's model 13"):
        check_dense(marked.run, owned_dense, 13)
    training = dataclasses.replace(owned_dense, model=copy.deepcopy(owned_dense.model).train())
    with pytest.raises(BadInputError, match="training mode"):
        check_dense(marked.run, training, KEYS)
    config = copy.deepcopy(owned_dense.model.config)
    for name, value, message in (
        ("vocab_size", 130, "knows 130 tokens"),
        ("max_position_embeddings", 8, "reads 8 at once"),
        ("intermediate_size", 50, "another shape"),
    ):
        changed = copy.deepcopy(config)
        setattr(changed, name, value)
        other = type(owned_dense.model)(changed).eval()
        broken = dataclasses.replace(owned_dense, model=other)
        with pytest.raises(UnsupportedError, match=message):
            check_dense(marked.run, broken, KEYS)
    given = marked.run, marked.model, marked.base, marked.fingerprints
    fewer = dataclasses.replace(owned_dense, fingerprints=owned_dense.fingerprints.take(np.arange(4)))
    with pytest.raises(BadInputError, match="embed as many in both"):
        erase_fingerprints(*given, dense=fewer, name="fewer")
    assert read_erased(marked.run, "fewer") is None


def test_documents_that_outputs_are_compared_on_are_enough(marked: Marked) -> None:
    documents = marked.run.documents
    assert len(some_documents(documents, 0)) == len(documents)  # fewer than are wanted
    many = documents.assign(tokens=CHANGE_TOKENS // 4)
    assert len(some_documents(many, 0)) == 4
