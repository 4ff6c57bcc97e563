"""Bootstrap intervals of masking and curves, against plain bootstraps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.analysis import MaskResult, RemovalCurve, bootstrap_curve, bootstrap_mask
from workbench.analysis.removal.curve_result import column
from workbench.errors import BadInputError


def mask_of(documents: pd.DataFrame, labels: list[str]) -> MaskResult:
    """A result of masking that holds these documents' sums."""
    nothing = np.zeros((len(labels), len(labels)))
    return MaskResult(
        labels=labels,
        rows=labels,
        baseline=nothing[0],
        matrix=nothing,
        control=nothing,
        activity_matched=nothing,
        baseline_accuracy=nothing[0],
        accuracy=nothing,
        removed_by_group=[[0] for _ in labels],
        documents=documents,
        ratio=2.0,
        min_tokens=1,
        seed=0,
    )


def measured(rng: np.random.Generator, documents: int, rise: float = 0.0) -> pd.DataFrame:
    """Sums of documents of two labels whose own loss rises by ``rise`` nats a token, give or take a document."""
    label = np.repeat(["a", "b"], documents)
    tokens = rng.integers(50, 500, 2 * documents).astype(float)
    loss = tokens * rng.normal(3.0, 0.5, 2 * documents)
    table = pd.DataFrame({"doc": range(2 * documents), "label": label, "tokens": tokens, "loss": loss})
    for row in ("a", "b"):
        own = rise * (label == row) + rng.normal(0, 0.1, 2 * documents)
        table[f"loss:{row}"] = loss + tokens * own
        for kind in ("control", "equal"):
            table[f"{kind}:{row}"] = loss + tokens * rng.normal(0, 0.1, 2 * documents)
    return table


def test_bootstrap_mask_of_one_document_per_label_has_no_spread() -> None:
    table = measured(np.random.default_rng(0), 1, rise=1.0)
    found = bootstrap_mask(mask_of(table, ["a", "b"]), samples=20)
    expected = [
        [(table[f"loss:{row}"] - table["loss"])[n] / table["tokens"][n] for n in range(2)] for row in ("a", "b")
    ]
    assert found.matrix[0] == pytest.approx(np.array(expected))
    assert found.matrix[1] == pytest.approx(np.array(expected))
    assert found.delta_target.tolist() == pytest.approx([np.trace(expected) / 2] * 2)


def test_bootstrap_mask_equals_a_plain_bootstrap() -> None:
    """Documents drawn one by one; the ends of two large bootstraps agree to their sampling error."""
    table = measured(np.random.default_rng(1), 12, rise=0.5)
    found = bootstrap_mask(mask_of(table, ["a", "b"]), samples=4000, level=0.9)
    columns = ["tokens", "loss", "loss:a", "loss:b"]
    parts = {label: part[columns].to_numpy() for label, part in table.groupby("label")}
    rng, target, others = np.random.default_rng(9), [], []
    for _ in range(4000):
        rise = {}
        for label, part in parts.items():
            tokens, loss, *edited = part[rng.integers(0, 12, 12)].sum(0)
            rise[label] = [(e - loss) / tokens for e in edited]
        target.append((rise["a"][0] + rise["b"][1]) / 2)
        others.append((rise["a"][1] + rise["b"][0]) / 2)
    assert found.delta_target == pytest.approx(np.quantile(target, [0.05, 0.95]), abs=0.006)
    assert found.delta_others == pytest.approx(np.quantile(others, [0.05, 0.95]), abs=0.006)


def test_bootstrap_mask_covers_the_truth_as_often_as_its_level() -> None:
    held = 0
    for seed in range(100):
        table = measured(np.random.default_rng(seed), 25, rise=0.3)
        low, high = bootstrap_mask(mask_of(table, ["a", "b"]), samples=300, level=0.9, seed=seed).delta_target
        held += low <= 0.3 <= high
    assert 78 <= held <= 98


def test_mask_intervals_as_json_have_null_for_infinity() -> None:
    """Where the others fall in some draws, the upper end has no number."""
    found = bootstrap_mask(mask_of(measured(np.random.default_rng(3), 10, rise=0.5), ["a", "b"]), samples=200)
    assert found.delta_others[0] < 0
    assert np.isinf(found.selectivity[1])
    answer = found.to_json()
    assert answer["selectivity"][1] is None
    assert answer["delta_target"] == found.delta_target.tolist()


def test_bootstrap_mask_with_the_same_seed_is_the_same() -> None:
    result = mask_of(measured(np.random.default_rng(4), 10), ["a", "b"])
    first, again, other = (bootstrap_mask(result, samples=50, seed=seed).to_json() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def curve_of(rng: np.random.Generator, documents: int, others: list[float], targets: list[float]) -> RemovalCurve:
    """A curve over documents of two labels whose losses rise by so much at each threshold, give or take a document."""
    label = np.repeat(["a", "b"], documents)
    tokens = rng.integers(50, 500, 2 * documents).astype(float)
    table = pd.DataFrame({"doc": range(2 * documents), "label": label, "tokens": tokens})
    table["loss"] = tokens * rng.normal(3.0, 0.5, 2 * documents)
    sizes = table.groupby("label")["tokens"].sum()
    points = []
    for threshold, other, target in zip(range(len(others), 0, -1), others, targets, strict=True):
        for row in ("a", "b"):
            extra = tokens * np.where(label == row, target, other) * rng.uniform(0.5, 1.5, 2 * documents)
            table[column("chosen", threshold, row)] = table["loss"] + extra
            rise = {name: extra[label == name].sum() / sizes[name] for name in ("a", "b")}
            point = {"threshold": float(threshold), "kind": "chosen", "label": row, "removed": 1, "target": rise[row]}
            points.append(point | {"others": rise["b" if row == "a" else "a"]})
    return RemovalCurve(["a", "b"], "preference", 0.02, pd.DataFrame(points), table, 1, 0)


def test_bootstrap_curve_equals_a_plain_bootstrap() -> None:
    curve = curve_of(np.random.default_rng(5), 12, others=[0.008, 0.015, 0.04], targets=[0.2, 0.5, 0.9])
    found = bootstrap_curve(curve, samples=4000, level=0.9)
    rng, read, ends = np.random.default_rng(8), [], []
    parts = dict(list(curve.documents.groupby("label")))
    for _ in range(1500):
        drawn = {label: part.iloc[rng.integers(0, 12, 12)].sum(numeric_only=True) for label, part in parts.items()}
        others, targets = [0.0], [0.0]
        for threshold in (3, 2, 1):
            rise = {
                (row, label): (sums[column("chosen", threshold, row)] - sums["loss"]) / sums["tokens"]
                for row in ("a", "b")
                for label, sums in drawn.items()
            }
            targets.append((rise["a", "a"] + rise["b", "b"]) / 2)
            others.append((rise["a", "b"] + rise["b", "a"]) / 2)
        read.append(np.interp(0.02, others, targets))
        ends.append(targets[-1])
    assert found.at_budget == pytest.approx(np.quantile(read, [0.05, 0.95]), abs=0.02)
    row = found.points.loc[("chosen", 1.0)]
    assert row[["target_low", "target_high"]].tolist() == pytest.approx(np.quantile(ends, [0.05, 0.95]), abs=0.02)


def test_bootstrap_curve_of_one_document_per_label_has_no_spread() -> None:
    """Its draws are the curve itself, so both ends are what the curve reads at the budget; past its end, at its end."""
    curve = curve_of(np.random.default_rng(6), 1, others=[0.01, 0.05], targets=[0.3, 0.7])
    read = curve.at_budget()
    assert read is not None
    assert bootstrap_curve(curve, samples=10).at_budget.tolist() == pytest.approx([read["chosen"]["target"]] * 2)
    short = curve_of(np.random.default_rng(6), 1, others=[0.001, 0.002], targets=[0.3, 0.7])
    end = short.means.loc[("chosen", 1.0), "target"]
    assert bootstrap_curve(short, samples=10).at_budget.tolist() == pytest.approx([end] * 2)


@pytest.mark.parametrize(("settings", "message"), [({"level": 1.0}, "level must"), ({"samples": 0}, "samples must")])
def test_bootstrap_refuses_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    curve = curve_of(np.random.default_rng(6), 2, others=[0.01, 0.05], targets=[0.3, 0.7])
    with pytest.raises(BadInputError, match=message):
        bootstrap_curve(curve, **settings)
    with pytest.raises(BadInputError, match=message):
        bootstrap_mask(mask_of(measured(np.random.default_rng(0), 2), ["a", "b"]), **settings)


def test_mask_intervals_keep_equal_as_a_deprecated_name() -> None:
    found = bootstrap_mask(mask_of(measured(np.random.default_rng(0), 2), ["a", "b"]), samples=5)
    with pytest.warns(DeprecationWarning, match="activity_matched"):
        assert found.equal is found.activity_matched


def test_intervals_do_not_shrink_by_the_copies_of_a_document() -> None:
    """Forty copies of every document leave them as they are; taken as documents, they make them six times narrower."""
    table = measured(np.random.default_rng(5), 12, rise=0.3)
    copied = pd.concat([table.assign(unit=table["doc"])] * 40, ignore_index=True)
    expected, found = (bootstrap_mask(mask_of(one, ["a", "b"]), samples=300) for one in (table, copied))
    assert found.matrix == pytest.approx(expected.matrix)
    assert found.delta_target == pytest.approx(expected.delta_target)
    naive = bootstrap_mask(mask_of(copied.assign(unit=range(len(copied))), ["a", "b"]), samples=300)
    assert np.ptp(naive.delta_target) < np.ptp(expected.delta_target) / 4
