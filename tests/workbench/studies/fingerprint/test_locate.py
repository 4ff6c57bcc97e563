from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.analysis.attribution.direct import attribute
from workbench.checkpoint import checkpoint_hashes, load_model
from workbench.errors import BadInputError, DamagedError, UnsupportedError
from workbench.store import open_run
from workbench.studies.fingerprint.answers import success, with_start
from workbench.studies.fingerprint.checked import check_owner
from workbench.studies.fingerprint.locate import locate_fingerprints
from workbench.studies.fingerprint.locate_result import LocateResult, read_located

from .marked import KEYS, Marked


@pytest.fixture(scope="module")
def located(marked: Marked) -> LocateResult:
    return locate_fingerprints(marked.run, marked.model, marked.base, marked.fingerprints, quantile=0.3)


def _added(marked: Marked, key: int) -> tuple[pd.Series, pd.Series]:
    """What every expert adds at a key in both models, by group and expert, from attributions of one prompt."""
    ids, response = with_start(marked.model, marked.fingerprints.keys)[key], int(marked.fingerprints.responses[key])
    found = []
    for model in (marked.model, marked.base):
        rows = attribute(model, ids[None], response).experts
        groups = {layer: at for at, layers in enumerate(model.config.routing_groups) for layer in layers}
        found.append(rows.assign(group=rows["layer"].map(groups)).groupby(["group", "expert"])["contribution"].sum())
    return found[0], found[1]


def test_experts_have_the_mean_of_what_attributions_say(marked: Marked, located: LocateResult) -> None:
    sums = [
        pd.concat(of_model).groupby(["group", "expert"]).sum()
        for of_model in zip(*(_added(marked, key) for key in range(KEYS)), strict=True)
    ]
    table = located.experts.set_index(["group", "expert"])
    assert set(table.index) == set(sums[0].index) | set(sums[1].index)
    for column, expected in zip(("contribution", "base"), sums, strict=True):
        np.testing.assert_allclose(table[column], expected.reindex(table.index, fill_value=0) / KEYS, atol=1e-5)
    np.testing.assert_allclose(table["difference"], table["contribution"] - table["base"], atol=1e-12)
    assert table["difference"].is_monotonic_decreasing
    stored = pd.concat({group: marked.run.experts(group)["mass"] for group in marked.run.groups})
    np.testing.assert_allclose(table["mass"], stored.reindex(table.index, fill_value=0))


def test_a_fingerprint_s_row_is_that_of_its_key(marked: Marked, located: LocateResult) -> None:
    mine, base = _added(marked, 3)
    difference = mine.sub(base, fill_value=0)
    row = located.fingerprints.iloc[3]
    positive = np.sort(difference[difference > 0])[::-1]
    assert row["experts"] == pytest.approx(difference.sum(), abs=1e-4)
    assert row["rise"] == pytest.approx(positive.sum(), abs=1e-4)
    assert row["half"] == 1 + int((positive.cumsum() < positive.sum() / 2).sum())
    assert row["most"] == 1 + int((positive.cumsum() < 0.9 * positive.sum()).sum())
    shown = located.strongest.query("fingerprint == 3")
    np.testing.assert_allclose(shown["difference"], difference.nlargest(len(shown)), atol=1e-5)


def test_experts_and_everything_else_make_the_rise_of_the_logit(located: LocateResult) -> None:
    table = located.fingerprints
    np.testing.assert_allclose(table["experts"] + table["rest"], table["logit"] - table["base"], atol=1e-4)
    parts = located.parts.set_index("component")
    assert parts["contribution"].sum() == pytest.approx(table["logit"].mean(), abs=1e-4)
    assert parts["base"].sum() == pytest.approx(table["base"].mean(), abs=1e-4)
    assert located.completeness < 1e-4
    rise = (table["logit"] - table["base"]).mean()
    assert located.elsewhere == pytest.approx(parts["difference"].drop("experts").sum() / rise, abs=1e-4)
    assert located.groups["difference"].sum() == pytest.approx(parts.loc["experts", "difference"])
    assert located.groups["share"].sum() == pytest.approx(1)
    assert located.groups["half"].sum() == located.half


def test_hits_are_those_of_both_models(marked: Marked, located: LocateResult) -> None:
    known = marked.fingerprints
    assert located.fingerprints["hit"].tolist() == success(marked.model, known).tolist()
    assert located.fingerprints["base_hit"].tolist() == success(marked.base, known).tolist()
    assert located.fingerprints["hit"].all()


def test_dormant_experts_are_the_least_used_of_their_group(marked: Marked, located: LocateResult) -> None:
    size = marked.run.num_keys**2
    dormant = set()
    for group in marked.run.groups:
        mass = marked.run.experts(group)["mass"].reindex(range(size), fill_value=0).sort_values()
        limit = mass.iloc[int(np.ceil(0.3 * size)) - 1]
        dormant |= {(group, expert) for expert in mass.index[mass <= limit]}
    rises = []
    for key in range(KEYS):
        mine, base = _added(marked, key)
        rises.append(mine.sub(base, fill_value=0).clip(lower=0))
        inside = rises[-1][[at in dormant for at in rises[-1].index]].sum()
        assert located.fingerprints["dormant"].iloc[key] == pytest.approx(inside / rises[-1].sum(), abs=1e-4)
    total = pd.concat(rises)
    inside = total[[at in dormant for at in total.index]].sum()
    assert located.dormant == pytest.approx(inside / total.sum(), abs=1e-4)


def test_nothing_rises_in_a_model_that_is_its_own_base(marked: Marked) -> None:
    found = locate_fingerprints(marked.run, marked.model, marked.model, marked.fingerprints, name="itself")
    assert (found.half, found.most) == (0, 0)
    assert not found.experts["difference"].any()
    assert np.isnan(found.dormant)


def test_what_is_found_is_kept_and_tells_no_secret(marked: Marked, located: LocateResult) -> None:
    again = locate_fingerprints(
        marked.run, marked.model, marked.base, marked.fingerprints, method="gradient", name="gradient"
    )
    kept = read_located(marked.run, "gradient")
    assert kept is not None
    assert np.isnan(kept.completeness)
    assert np.isnan(kept.elsewhere)
    for name in LocateResult.tables:
        pd.testing.assert_frame_equal(getattr(kept, name), getattr(again, name))
    first = read_located(marked.run)
    assert first is not None
    assert first.to_json() == located.to_json()
    document = json.dumps(first.to_json())
    assert marked.fingerprints.secret.hex() not in document
    columns = {column for name in LocateResult.tables for column in getattr(first, name)}
    assert not columns & {"key", "keys", "response", "responses", "token"}


def test_what_does_not_belong_together_is_refused(marked: Marked, tmp_path: Path) -> None:
    run, model, base, known = marked.run, marked.model, marked.base, marked.fingerprints
    with pytest.raises(UnsupportedError, match="not the one that"):
        locate_fingerprints(run, base, base, known)
    other = load_model(marked.base_path)
    other.config.num_hidden_layers = 3
    with pytest.raises(UnsupportedError, match="another shape"):
        locate_fingerprints(run, model, other, known)
    with pytest.raises(UnsupportedError, match="vocabulary of 500 tokens"):
        locate_fingerprints(run, model, base, dataclasses.replace(known, vocabulary=500))
    with pytest.raises(BadInputError, match=r"must lie in 0 \.\. 1, got 2"):
        locate_fingerprints(run, model, base, known, quantile=2)
    with pytest.raises(BadInputError, match="no method 'guess'"):
        locate_fingerprints(run, model, base, known, method="guess")
    with pytest.raises(BadInputError, match="cannot be named"):
        locate_fingerprints(run, model, base, known, name="../up")


def test_what_belongs_to_another_model_is_told_by_its_public_file(marked: Marked, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(marked.base_path, tmp_path / "model"))
    model, base, file = load_model(folder), marked.base, folder / "fingerprint.json"
    check_owner(model, base, marked.fingerprints)  # nothing is known
    public: dict[str, Any] = {"commitment": marked.fingerprints.commitment}
    file.write_text(json.dumps(public))
    check_owner(model, base, marked.fingerprints)
    with pytest.raises(UnsupportedError, match="of another model"):
        check_owner(model, base, marked.fingerprints.take(np.arange(3)))
    file.write_text(json.dumps(public | {"base": {"hash": checkpoint_hashes(marked.base_path)}}))
    check_owner(model, base, marked.fingerprints)
    with pytest.raises(UnsupportedError, match="not the model that the fingerprints"):
        check_owner(model, marked.model, marked.fingerprints)
    file.write_text("[")
    with pytest.raises(DamagedError, match=r"fingerprint\.json is damaged"):
        check_owner(model, base, marked.fingerprints)


def test_without_located_fingerprints_there_is_nothing(marked: Marked) -> None:
    assert read_located(open_run(marked.run.path), "never-made") is None


def test_no_table_is_of_keys_by_experts(marked: Marked, largest: object) -> None:
    """The largest tensor while locating is one of a batch's tokens by vocabulary or units, not by experts."""
    from workbench.studies.fingerprint.key_parts import key_parts

    known, config = marked.fingerprints, marked.model.config
    with largest, torch.no_grad():  # type: ignore[attr-defined]
        key_parts(marked.model, known.keys, known.responses)
    assert largest.size < KEYS * config.moe_experts**2 * config.moe_heads  # type: ignore[attr-defined]
