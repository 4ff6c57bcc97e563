from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest, t
from torch.nn.functional import cross_entropy

from workbench.analysis.removal.choose import removal
from workbench.analysis.removal.heldout import HeldOut
from workbench.errors import BadInputError
from workbench.studies.fingerprint import erase as module
from workbench.studies.fingerprint.answers import success
from workbench.studies.fingerprint.erase import erase_fingerprints
from workbench.studies.fingerprint.erase_result import EraseResult, read_erased
from workbench.studies.fingerprint.locate import locate_fingerprints
from workbench.studies.fingerprint.removals import control_counts, key_halves

from .marked import KEYS, Marked


@pytest.fixture(scope="module")
def erased(marked: Marked) -> EraseResult:
    return erase_fingerprints(marked.run, marked.model, marked.base, marked.fingerprints, draws=2)


def _located(marked: Marked, count: int) -> dict[int, torch.Tensor]:
    """The edit without the experts that half of the keys locate, from the result of locating with these alone."""
    chose, _ = key_halves(KEYS, 0)
    found = locate_fingerprints(
        marked.run, marked.model, marked.base, marked.fingerprints.take(chose), name="half"
    ).experts.head(count)
    ids = [np.sort(found.loc[found["group"] == group, "expert"].to_numpy()) for group in marked.run.groups]
    return removal(marked.run.group_layers, ids, marked.run.num_keys)


@pytest.mark.parametrize("count", [0, 8])
def test_a_point_is_what_the_model_does_without_these_experts(marked: Marked, erased: EraseResult, count: int) -> None:
    row = erased.points.query("order == 'located' and removed == @count").iloc[0]
    chose, others = key_halves(KEYS, 0)
    heldout = HeldOut.split(marked.run, 0)
    sums: dict[str, list[float]] = {}
    with torch.no_grad(), marked.model.edit_experts(_located(marked, count) if count else {}):
        hit = success(marked.model, marked.fingerprints)
        for document in heldout.measuring.itertuples():
            for ids, _ in marked.run.windows_of(int(document.doc)):
                tokens = torch.from_numpy(ids)
                logits = marked.model(tokens[None], use_cache=False).logits[0, :-1]
                total = sums.setdefault(heldout.labels[document.label], [0.0, 0])
                total[0] += float(cross_entropy(logits, tokens[1:], reduction="sum"))
                total[1] += len(ids) - 1
    assert row["chose"] == pytest.approx(hit[chose].mean())
    assert row["others"] == pytest.approx(hit[others].mean())
    by_label = {label: total / tokens for label, (total, tokens) in sums.items()}
    assert row["loss"] == pytest.approx(np.mean(list(by_label.values())), rel=1e-4)
    table = erased.labels.query("order == 'located' and removed == @count").set_index("label")["loss"]
    np.testing.assert_allclose(table, pd.Series(by_label)[table.index], rtol=1e-4)


def test_rises_are_over_nothing_removed(erased: EraseResult) -> None:
    points = erased.points
    whole = points.iloc[0]
    assert (whole["removed"], whole["rise"], whole["low"], whole["high"]) == (0, 0, 0, 0)
    assert (whole["chose"], whole["others"]) == (1, 1)  # the training got all of them
    np.testing.assert_allclose(points["rise"], points["loss"] - whole["loss"])
    assert (points["low"] <= points["rise"] + 1e-9).all()
    assert (points["rise"] <= points["high"] + 1e-9).all()
    np.testing.assert_allclose(points["share"], points["removed"] / erased.total["experts"])
    mean = erased.labels.groupby(["order", "draw", "removed"])["rise"].mean()
    np.testing.assert_allclose(
        mean.loc[[tuple(at) for at in points[["order", "draw", "removed"]].to_numpy()]], points["rise"]
    )


def test_every_order_is_measured_at_the_same_counts(erased: EraseResult) -> None:
    counts = {
        key: rows["removed"].tolist() for key, rows in erased.points.query("removed > 0").groupby(["order", "draw"])
    }
    located = counts.pop(("located", 0))
    assert located[:4] == [1, 2, 4, 5]  # 1 % of two groups of 256 among them
    assert {order for order, _ in counts} == {"random", "equal", "unused", "changed"}
    assert {draw for order, draw in counts if order == "random"} == {0, 1}
    every_other = control_counts(located, 512)
    for (order, _), found in counts.items():
        assert found == every_other[: len(found)]
        assert found == every_other or order == "equal"  # more than half of a group has not as many others


def test_a_sample_reads_fewer_documents(marked: Marked, erased: EraseResult) -> None:
    given = marked.run, marked.model, marked.base, marked.fingerprints
    found = erase_fingerprints(*given, draws=1, sample=3, name="sampled")
    assert found.drawn is not None
    assert found.documents < erased.documents


def test_located_experts_take_more_than_random_ones(erased: EraseResult) -> None:
    curve = erased.curve().set_index(["order", "removed"])
    most = max(removed for order, removed in curve.index if order == "located")
    assert curve.loc[("located", most), "chose"] < curve.loc[("random", most), "chose"]


def test_curve_takes_draws_together(erased: EraseResult) -> None:
    curve = erased.curve()
    drawn = erased.points.query("order == 'random' and removed == 5")
    row = curve.query("order == 'random' and removed == 5").iloc[0]
    assert row["draws"] == len(drawn) == 2
    for name, high in (("others", "others_high"), ("rise", "high")):
        wide = t.ppf(0.975, 1) * drawn[name].std() / np.sqrt(2)
        assert row[name] == pytest.approx(drawn[name].mean())
        assert row[high] == pytest.approx(min(row[name] + wide, 1.0) if name == "others" else row[name] + wide)
    single = curve.query("order == 'located' and removed == 5").iloc[0]
    interval = binomtest(round(single["others"] * erased.others), erased.others).proportion_ci()
    assert (single["others_low"], single["others_high"]) == pytest.approx(tuple(interval))
    assert set(curve.loc[curve["removed"] == 0, "order"]) == set(curve["order"])


def _result(others: list[float], removed: list[int]) -> EraseResult:
    rows = [
        {"units": "experts", "order": "located", "draw": 0, "removed": n, "share": n / 1000, "chose": s, "others": s}
        | {"loss": 1.0, "rise": 0.1 * n, "low": 0.0, "high": 1.0}
        for s, n in zip(others, removed, strict=True)
    ]
    known: dict[str, Any] = {"commitment": "c", "base": "b", "method": "direct", "seed": 0, "draws": 1}
    sizes: dict[str, Any] = {"chose": 10, "others": 10, "documents": 3, "total": {"experts": 1000}}
    return EraseResult(**known, **sizes, points=pd.DataFrame(rows), labels=pd.DataFrame())


def test_the_smallest_removal_that_erases_is_read_off() -> None:
    result = _result([0.8, 0.5, 0.08, 0.0], [0, 4, 10, 20])
    found = result.erased()
    assert found is not None
    assert found["removed"] == 10  # 0.08 is a tenth of 0.8
    assert result.erased(order="random") is None
    chose = dataclasses.replace(result, points=result.points.assign(chose=[1.0, 0.1, 0.0, 0.0])).erased(keys="chose")
    assert chose is not None
    assert chose["removed"] == 4
    assert _result([0.8, 0.5], [0, 4]).erased() is None
    at = result.at_share(0.01)
    assert at is not None
    assert at["removed"] == 10
    assert result.at_share(0.001) is None


def test_what_is_measured_is_kept(marked: Marked, erased: EraseResult) -> None:
    kept = read_erased(marked.run)
    assert kept is not None
    assert kept.to_json() == erased.to_json()
    for name in EraseResult.tables:
        pd.testing.assert_frame_equal(getattr(kept, name), getattr(erased, name))


def test_an_interrupted_one_goes_on(marked: Marked, erased: EraseResult, monkeypatch: pytest.MonkeyPatch) -> None:
    measured, allowed = [], 5

    def counted(*arguments: Any) -> Any:
        if len(measured) == allowed:
            raise KeyboardInterrupt
        measured.append(1)
        return success(*arguments)

    monkeypatch.setattr(module, "success", counted)
    given = marked.run, marked.model, marked.base, marked.fingerprints
    with pytest.raises(KeyboardInterrupt):
        erase_fingerprints(*given, draws=1, name="broken")
    assert read_erased(marked.run, "broken") is None
    allowed = 10_000
    again = erase_fingerprints(*given, draws=1, name="broken", resume=True)
    assert len(measured) == len(again.points)  # none twice
    both = erased.points.query("draw == 0").reset_index(drop=True)
    pd.testing.assert_frame_equal(again.points.drop(columns=["low", "high"]), both.drop(columns=["low", "high"]))
    allowed = len(measured) + 1
    with pytest.raises(KeyboardInterrupt):
        erase_fingerprints(*given, draws=1, name="other")
    with pytest.raises(BadInputError):
        erase_fingerprints(*given, draws=2, name="other", resume=True)


def test_too_few_fingerprints_or_draws_are_refused(marked: Marked) -> None:
    one = marked.fingerprints.take(np.arange(1))
    with pytest.raises(BadInputError, match="needs 2 fingerprints"):
        erase_fingerprints(marked.run, marked.model, marked.base, one)
    with pytest.raises(BadInputError, match="1 draw"):
        erase_fingerprints(marked.run, marked.model, marked.base, marked.fingerprints, draws=0)
