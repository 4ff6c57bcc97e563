"""Which experts two models differ in: against exports of both, `attribute`, and experts evaluated one at a time."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.analysis import DiffResult, attribute, diff_models
from workbench.analysis.diff import diff as module
from workbench.analysis.diff import pair
from workbench.errors import BadInputError, NotFoundError, UnsupportedError
from workbench.export import export_run

KEYS = 8
SHORT: dict[str, Any] = {"max_position_embeddings": 16}
KINDS = {
    "vertical": SHORT | {"moe_decompose": "vertical"},
    "horizontal": SHORT | {"moe_decompose": "horizontal"},
    "mixed": SHORT | {"num_hidden_layers": 5, "dense_layers": [1, 2], "intermediate_size": 20, "hidden_act": "silu"},
}


def _corpus() -> Dataset:
    """Documents of two labels, one of several windows, one with a control token inside, one of control tokens alone."""
    rng = np.random.default_rng(3)
    rows = [
        {"input_ids": [1, *rng.integers(low, low + 30, size).tolist()], "label": label}
        for label, low in (("ada", 2), ("lisp", 31))
        for size in (3, 21)
    ]
    rows += [{"input_ids": [1, 4, 1, 7], "label": "ada"}, {"input_ids": [1], "label": "lisp"}]
    return Dataset.from_list([*rows, {"input_ids": [9, 3], "label": "ada"}])


@pytest.fixture(scope="module", params=KINDS)
def pair_of(
    request: pytest.FixtureRequest,
    make_model: Callable[..., MonetForCausalLM],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """Folders of a random model and of one with other weights in routers, experts and unembedding."""
    folder = tmp_path_factory.mktemp(request.param)
    base = make_model(**KINDS[request.param])
    tuned = copy.deepcopy(base)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if any(part in name for part in ("router", "moe", "lm_head", "q_proj")):
                parameter.add_(0.3 * parameter.std().nan_to_num(0.1) * torch.randn_like(parameter))
    for name, model in (("base", base), ("tuned", tuned)):
        model.save_pretrained(folder / name)
    return folder / "base", folder / "tuned"


@pytest.fixture(scope="module")
def found(pair_of: tuple[Path, Path]) -> DiffResult:
    return diff_models(*pair_of, _corpus())


def _models(folders: tuple[Path, Path]) -> list[MonetForCausalLM]:
    return [MonetForCausalLM.from_pretrained(folder).eval() for folder in folders]


def test_mass_and_tokens_are_those_of_an_export_of_each_model(
    pair_of: tuple[Path, Path], found: DiffResult, tmp_path: Path
) -> None:
    by_label: list[dict[int, np.ndarray]] = []
    for name, folder in zip(("base", "tuned"), pair_of, strict=True):
        export_run(folder, _corpus(), tmp_path / name)
        run = open_run(tmp_path / name)
        assert run.tokens_total == found.tokens
        by_label.append({})
        for group in run.groups:
            exported = run.experts(group)
            own = found.experts.query(f"group == @group and {name}_tokens > 0").set_index("expert")
            active = exported[exported["tokens"] > 0]
            assert own.index.tolist() == sorted(active.index)
            assert own[f"{name}_tokens"].tolist() == active["tokens"].reindex(own.index).tolist()
            assert np.allclose(own[f"{name}_mass"], active["mass"].reindex(own.index), rtol=1e-5)
    assert (found.experts["mass_change"] == found.experts["tuned_mass"] - found.experts["base_mass"]).mean() > 0.9
    assert found.experts["mass_change"].abs().max() > 0.1


def test_the_label_of_a_change_is_where_mass_per_token_changed_most(
    pair_of: tuple[Path, Path], found: DiffResult, tmp_path: Path
) -> None:
    data = _corpus()
    alone = {
        label: diff_models(*pair_of, data.filter(lambda row, label=label: row["label"] == label))
        for label in ("ada", "lisp")
    }
    rates = pd.DataFrame(
        {
            label: (one.experts.set_index(["group", "expert"])["mass_change"] / one.tokens).abs()
            for label, one in alone.items()
        }
    ).fillna(0)
    rates = rates.reindex(pd.MultiIndex.from_frame(found.experts[["group", "expert"]]))
    assert found.experts["label"].tolist() == rates.idxmax(axis=1).tolist()
    assert np.allclose(found.experts["label_share"], rates.max(axis=1) / rates.sum(axis=1), rtol=1e-4)
    for row in found.labels.itertuples():
        own = alone[row.label]
        assert row.tokens == own.tokens
        assert np.isclose(row.rerouted, own.experts["mass_change"].abs().sum() / 2 / own.experts["base_mass"].sum())
        assert np.isclose(row.base_loss, own.labels["base_loss"].iloc[0])


def _windows(model: MonetForCausalLM, data: Dataset) -> list[tuple[list[int], list[bool]]]:
    """Each window's ids and which of them count, spelled out: an eighth of a window is repeated, and counts once."""
    found, width = [], model.config.max_position_embeddings
    overlap = width // 8
    for ids in data["input_ids"]:
        bos = ids[:1] if ids[0] == 1 else []
        windows = [(ids[:width], 0)]
        for at in range(width, len(ids), width - len(bos) - overlap):
            end = at + width - len(bos) - overlap
            windows.append((bos + ids[at - overlap : end], len(bos) + overlap))
        found += [(ids, [at >= fresh and token != 1 for at, token in enumerate(ids)]) for ids, fresh in windows]
    return found


def test_contributions_are_those_that_attribute_gives_token_by_token(
    pair_of: tuple[Path, Path], found: DiffResult
) -> None:
    models = _models(pair_of)
    group_of = {layer: g for g, group in enumerate(models[0].config.routing_groups) for layer in group}
    windows = _windows(models[0], _corpus())
    places = [(ids[:at], ids[at]) for ids, counted in windows for at in range(1, len(ids)) if counted[at]]
    assert found.predicted == len(places)
    rows, losses = [], []
    for number, (prefix, token) in enumerate(places):
        for name, model in zip(("base", "tuned"), models, strict=True):
            ids = torch.tensor([prefix])
            table = attribute(model, ids, token).experts
            rows.append(table.assign(place=number, model=name, group=table["layer"].map(group_of)))
            losses.append(-model(ids).logits[0, -1].double().log_softmax(-1)[token].item())
    every = pd.concat(rows).pivot_table("contribution", ["group", "expert", "place"], "model", "sum").fillna(0)
    moved = (every["tuned"] - every["base"]).abs().groupby(level=[0, 1]).sum()
    means, places_of = every.groupby(level=[0, 1]).mean(), every.groupby(level=[0, 1]).size()
    own = found.experts[found.experts["places"] > 0].set_index(["group", "expert"])
    assert own.index.equals(means.index)
    assert own["places"].tolist() == places_of.tolist()
    assert np.allclose(own["base_contribution"], means["base"], atol=2e-5)
    assert np.allclose(own["tuned_contribution"], means["tuned"], atol=2e-5)
    assert np.allclose(own["contribution_change"], means["tuned"] - means["base"], atol=3e-5)
    assert np.allclose(own["contribution_moved"], moved, atol=5e-4)
    weighted = (found.labels["tuned_loss"] * found.labels["predicted"]).sum() / found.predicted
    assert np.isclose(weighted, np.mean(losses[1::2]), rtol=1e-5)
    assert found.experts.loc[found.experts["places"] == 0, "contribution_change"].isna().all()


@torch.no_grad()
def test_the_change_of_an_output_is_that_of_the_expert_at_its_keys_mean_units(
    pair_of: tuple[Path, Path], found: DiffResult
) -> None:
    models = _models(pair_of)
    chosen = found.ranked("mass", 2, min_tokens=1)
    windows = [tuple(map(torch.tensor, window)) for window in _windows(models[0], _corpus())]
    for row in chosen.itertuples():
        i, j = divmod(row.expert, KEYS)
        length = change = 0.0
        layers = models[0].config.routing_groups[row.group]
        for layer in layers:
            written = []
            for model in models:
                moe = model.model.layers[layer].moe
                means = []
                for units_of, (projection, key) in enumerate(moe.units((torch.tensor([i]), torch.tensor([j])))):
                    side = 0 if len(moe.inputs()) == 1 else units_of
                    total, weight = torch.zeros(()).double(), torch.zeros(()).double()
                    for ids, counted in windows:
                        x = _input_of(models[0], layer, ids)
                        gates = [_gate(one, layers[0], ids, side, int(key)) for one in models]
                        use = (gates[0] + gates[1])[counted] / 2
                        units = projection(x).relu().square().unflatten(-1, (KEYS, -1))[:, int(key)][counted]
                        total, weight = total + (use[:, None] * units.double()).sum(0), weight + use.sum()
                    means.append((total / weight).float()[None])
                written.append(moe.written(means, (torch.tensor([i]), torch.tensor([j])))[0].double())
            length += float(written[0].square().sum())
            change += float((written[1] - written[0]).square().sum())
        assert np.isclose(row.base_output, length**0.5, rtol=1e-4)
        assert np.isclose(row.output_change, change**0.5, rtol=1e-3, atol=1e-6)


def _input_of(model: MonetForCausalLM, layer: int, ids: torch.Tensor) -> torch.Tensor:
    """(tokens, hidden) what the expert layer reads."""
    kept: list[torch.Tensor] = []
    handle = model.model.layers[layer].moe.register_forward_hook(lambda _m, args, _o: kept.append(args[0]))
    model(ids[None])
    handle.remove()
    return kept[0][0]


def _gate(model: MonetForCausalLM, layer: int, ids: torch.Tensor, side: int, key: int) -> torch.Tensor:
    """(tokens,) a key's probability, summed over heads."""
    probs = model(ids[None], output_router_probs=True).router_probs[layer]
    return probs[side][0, :, :, key].double().sum(1)


def test_where_only_one_expert_was_changed_its_row_and_column_alone_change_output(
    make_model: Callable[..., MonetForCausalLM], tmp_path: Path
) -> None:
    base = make_model()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.model.layers[3].moe.b1[2] += 1.0  # of key 2 in set 1: half the outputs of row 2
    base.save_pretrained(tmp_path / "base")
    tuned.save_pretrained(tmp_path / "tuned")
    experts = diff_models(tmp_path / "base", tmp_path / "tuned", _corpus()).experts
    changed = experts["output_change"] > 0
    assert changed.any()
    assert changed.equals((experts["group"] == 1) & (experts["expert"] // KEYS == 2))
    assert np.allclose(experts.loc[changed, "output_change"], (base.config.hidden_size / 2) ** 0.5, rtol=1e-6)


def test_batches_do_not_change_the_result(
    pair_of: tuple[Path, Path], found: DiffResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one, name, value in ((pair, "BATCH_TOKENS", 20), (pair, "DOCUMENTS_AT_ONCE", 2), (module, "PLACES", 3)):
        monkeypatch.setattr(one, name, value)
    again = diff_models(*pair_of, _corpus())
    pd.testing.assert_frame_equal(again.experts, found.experts, rtol=1e-3, atol=1e-4)
    pd.testing.assert_frame_equal(again.labels, found.labels, rtol=1e-4)


def test_exchanged_models_have_the_opposite_change(pair_of: tuple[Path, Path], found: DiffResult) -> None:
    back = diff_models(pair_of[1], pair_of[0], _corpus())
    assert np.allclose(back.experts["mass_change"], -found.experts["mass_change"], atol=1e-9)
    assert np.allclose(back.experts["contribution_moved"], found.experts["contribution_moved"], atol=1e-9)
    assert back.experts["label"].tolist() == found.experts["label"].tolist()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"moe_experts": 9}, "keys in a set, 8 and 9"),
        ({"moe_groups": 4}, "layers of each group"),
        ({"moe_decompose": "horizontal"}, "decomposition"),
        ({"vocab_size": 62}, "tokens in the vocabulary"),
    ],
)
def test_models_of_other_shapes_are_refused_by_name(
    fields: dict[str, object], words: str, make_model: Callable[..., MonetForCausalLM], tmp_path: Path
) -> None:
    make_model().save_pretrained(tmp_path / "base")
    make_model(**fields).save_pretrained(tmp_path / "other")
    with pytest.raises(UnsupportedError, match=words):
        diff_models(tmp_path / "base", tmp_path / "other", _corpus())


def test_models_of_other_tokenizers_are_refused(bare_run_path: Path, tmp_path: Path) -> None:
    base = bare_run_path.parent / "model"
    other = shutil.copytree(base, tmp_path / "other")
    text = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text.replace('"a":', '"§":', 1))
    with pytest.raises(UnsupportedError, match="differ in their model"):
        diff_models(base, other, bare_run_path.parent / "corpus.parquet")
    (other / "tokenizer.json").unlink()  # as save_pretrained of a model alone leaves it
    assert diff_models(base, other, bare_run_path.parent / "corpus.parquet", limit=1).documents == 3


def test_bad_input_is_named(make_model: Callable[..., MonetForCausalLM], tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path / "base")
    with pytest.raises(NotFoundError, match="nowhere"):
        diff_models(tmp_path / "base", tmp_path / "nowhere", _corpus())
    with pytest.raises(BadInputError, match="neither model folder has a tokenizer"):
        diff_models(tmp_path / "base", tmp_path / "base", Dataset.from_list([{"text": "a", "label": "b"}]))
    with pytest.raises(BadInputError, match="no tokens but control tokens"):
        diff_models(tmp_path / "base", tmp_path / "base", Dataset.from_list([{"input_ids": [1], "label": "b"}]))
