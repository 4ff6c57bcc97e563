"""Units of a dense model and targeted probe perturbation, each against a plain account."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.analysis.removal.heldout import HeldOut
from workbench.analysis.windows import Windows, read_windows
from workbench.baselines import read_baselines
from workbench.baselines.measure import measure_experts, measure_units, sae_quality
from workbench.baselines.results import MODELS
from workbench.baselines.sae import TopKSae, middle_layer, residual
from workbench.baselines.tpp import (
    Probes,
    Written,
    pool,
    targeted_probe_perturbation,
    written_by_experts,
    written_by_units,
)
from workbench.baselines.units import Features, Neurons, Units, unit_sums
from workbench.export import export_run
from workbench.store import Run

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny-vd"
LABELS = {"ada": (10, 50), "c": (40, 80), "lisp": (70, 120)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(7)
    rows = [
        {"input_ids": [1, *rng.integers(low, high, rng.integers(20, 90)).tolist()], "label": label}
        for label, (low, high) in LABELS.items()
        for _ in range(6)
    ]
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    export_run(GOLDEN, folder / "corpus.parquet", folder / "run")
    return open_run(folder / "run")


@pytest.fixture(scope="module")
def dense() -> LlamaForCausalLM:
    torch.manual_seed(3)
    shape = {"num_hidden_layers": 4, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=128, max_position_embeddings=64, **shape)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def sae() -> TopKSae:
    torch.manual_seed(4)
    made = TopKSae(16, 40, 5)
    with torch.no_grad():
        made.scale.fill_(3.0)
        made.bias.normal_(std=0.1)
    return made.requires_grad_(False)


@pytest.fixture
def windows(run: Run) -> Windows:
    return read_windows(run, HeldOut.split(run, 0).choosing)


def test_neurons_write_what_their_layer_adds(dense: LlamaForCausalLM) -> None:
    ids = torch.randint(3, 128, (2, 9))
    outputs: list[torch.Tensor] = []
    hooks = [layer.mlp.register_forward_hook(lambda *args: outputs.append(args[-1])) for layer in dense.model.layers]
    dense(ids)
    for hook in hooks:
        hook.remove()
    neurons = Neurons(dense)
    found, ways = neurons.activations(ids), neurons.directions()
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
    run: Run, windows: Windows, dense: LlamaForCausalLM, sae: TopKSae, kind: str
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
        for start in range(0, len(ids), context):
            skip = len(bos) if start == 0 else 0
            for place, values in enumerate(units.activations(torch.tensor([ids[start : start + context]]))):
                mass[place][row.label] += values[0, skip:].abs().sum(0).numpy()
                active[place][row.label] += (values[0, skip:] != 0).sum(0).numpy()
        tokens[row.label] += row.tokens
    for place, sums in enumerate(found):
        assert sums.mass == pytest.approx(mass[place], rel=1e-4, abs=1e-6)
        assert sums.tokens.tolist() == active[place].tolist()
        assert sums.label_tokens.tolist() == tokens.tolist()


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
    written = written_by_units(units, windows, probes)
    total = np.stack([np.bincount(written.document, e, windows.documents) for e in written.effect.T], 1)
    sums, tokens = torch.zeros(windows.documents, 16), torch.zeros(windows.documents)
    for batch in windows.batches:
        parts = zip(units.activations(batch.ids), units.directions(), strict=True)
        wrote = sum(values @ way for values, way in parts if way is not None) * (batch.row >= 0)[..., None]
        sums.index_add_(0, batch.document, wrote.sum(1))
        tokens.index_add_(0, batch.document, (batch.row >= 0).sum(1).float())
    expected = (sums / tokens[:, None]).double() @ probes.weight.T
    assert total == pytest.approx(expected.numpy(), abs=1e-3)
    assert written.units == sum(
        size for size, way in zip(units.sizes, units.directions(), strict=True) if way is not None
    )


def test_what_experts_write_is_their_part_of_the_probes(windows: Windows) -> None:
    """The whole output of the group's expert layers, and single experts removed from one window by the model."""
    model = MonetForCausalLM.from_pretrained(GOLDEN).eval()
    probes = Probes(torch.randn(3, 32, dtype=torch.float64), torch.zeros(3))
    written = written_by_experts(model, windows, probes, 1)
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
    total = np.stack([np.bincount(written.document, e, windows.documents) for e in written.effect.T], 1)
    expected = (sums / tokens[:, None]).double() @ probes.weight.T
    assert total == pytest.approx(expected.numpy(), abs=1e-3)
    # Scores of a head sum to 1, those of a token to the number of heads.
    assert np.bincount(written.document, written.activation) == pytest.approx(2.0, rel=1e-3)
    assert written.units == 16 * 16


def test_pooled_streams_are_means_over_tokens(windows: Windows, dense: LlamaForCausalLM) -> None:
    found = pool(dense, windows, 1)
    sums, tokens = torch.zeros(windows.documents, 16), torch.zeros(windows.documents)
    for batch in windows.batches:
        for ids, rows, document in zip(batch.ids, batch.row, batch.document, strict=True):
            hidden = dense.model(ids[None], output_hidden_states=True).hidden_states[2][0]
            sums[document] += hidden[rows >= 0].sum(0)
            tokens[document] += (rows >= 0).sum()
    assert found.numpy() == pytest.approx((sums / tokens[:, None]).numpy(), abs=1e-4)


def test_all_three_are_measured_alike(run: Run, dense: LlamaForCausalLM, sae: TopKSae) -> None:
    model = MonetForCausalLM.from_pretrained(GOLDEN).eval()
    found = [
        measure_experts(run, model),
        measure_units(run, "neurons", Neurons(dense)),
        measure_units(run, "features", Features(dense, sae)),
    ]
    assert [result["units"] for result in found] == [2 * 256, 4 * 24, 40]
    shipped = read_baselines()["models"]
    for result, name in zip(found, MODELS, strict=True):
        assert result.keys() == shipped[name].keys()
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert {point["kind"] for point in result["curve"]["points"]} == {"chosen", "random", "equal"}
        matrix = np.array(result["rule"]["matrix"])
        assert result["rule"]["target"] == pytest.approx(np.trace(matrix) / 3)
        assert result["rule"]["others"] == pytest.approx((matrix.sum() - np.trace(matrix)) / 6)


def test_how_well_an_autoencoder_stands_for_the_stream(run: Run, dense: LlamaForCausalLM, sae: TopKSae) -> None:
    found = sae_quality(run, dense, sae)
    assert found["explained"] < 1
    assert found["loss_spliced"] != found["loss"]
    perfect = TopKSae(16, 32, 32)  # every direction and its opposite, none left out
    with torch.no_grad():
        perfect.decoder.copy_(torch.cat([torch.eye(16), -torch.eye(16)]))
        perfect.encoder.copy_(perfect.decoder)
    exact = sae_quality(run, dense, perfect)
    assert exact["explained"] == pytest.approx(1, abs=1e-5)
    assert exact["loss_spliced"] == pytest.approx(exact["loss"], abs=1e-4)
