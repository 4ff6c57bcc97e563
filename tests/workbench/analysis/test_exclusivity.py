"""Overlap of labels, bootstrap intervals, and the curve of removal, against plain accounts of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.analysis import MaskResult, bootstrap_mask, label_overlap
from workbench.errors import WorkbenchError
from workbench.store import Run

# overlap


def run_of(mass: dict[str, list[float]]) -> Any:
    """A run of one group with such masses of its experts by label."""
    table = pd.DataFrame({f"mass:{label}": values for label, values in mass.items()})
    return SimpleNamespace(labels=list(mass), groups=[0], experts=lambda group: table)


def test_overlap_by_hand() -> None:
    """Cores at 0.5: a {0}, b {2, 0}, c {0, 2}; masses are compared as parts of a label's own."""
    found = label_overlap(run_of({"a": [6, 2, 2], "b": [0.4, 0.2, 0.4], "c": [40, 20, 40]}), coverage=0.5)
    assert found.core.to_dict() == {"a": 1, "b": 2, "c": 2}
    assert found.jaccard.to_numpy().tolist() == [[1, 0.5, 0.5], [0.5, 1, 1], [0.5, 1, 1]]
    assert found.shared.to_numpy().round(9).tolist() == [[1, 0.8, 0.8], [0.8, 1, 1], [0.8, 1, 1]]
    assert found.to_json()["core"] == [1, 2, 2]


def test_overlap_of_a_run(run: Run) -> None:
    found = label_overlap(run, 0.3)
    tables = pd.concat([run.experts(group) for group in run.groups])
    cores = {}
    for label in run.labels:
        mass = tables[f"mass:{label}"].to_numpy() / tables[f"mass:{label}"].sum()
        order = np.argsort(-mass, kind="stable")
        size = int(np.searchsorted(np.cumsum(mass[order]), 0.3 - 1e-12)) + 1
        cores[label] = set(order[:size].tolist())
        assert found.core[label] == size
        for other in run.labels:
            theirs = tables[f"mass:{other}"].to_numpy() / tables[f"mass:{other}"].sum()
            assert found.shared.loc[label, other] == pytest.approx(1 - np.abs(mass - theirs).sum() / 2)
    for a in run.labels:
        for b in run.labels:
            assert found.jaccard.loc[a, b] == pytest.approx(len(cores[a] & cores[b]) / len(cores[a] | cores[b]))


@pytest.mark.parametrize("coverage", [0.0, 1.5, float("nan")])
def test_coverage_out_of_range_is_refused(run: Run, coverage: float) -> None:
    with pytest.raises(WorkbenchError, match="coverage must lie above 0"):
        label_overlap(run, coverage)


# intervals


def mask_of(documents: pd.DataFrame, labels: list[str]) -> MaskResult:
    """A result of masking that holds these documents' sums."""
    nothing = np.zeros((len(labels), len(labels)))
    return MaskResult(
        labels=labels,
        rows=labels,
        baseline=nothing[0],
        matrix=nothing,
        control=nothing,
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
        table[f"control:{row}"] = loss + tokens * rng.normal(0, 0.1, 2 * documents)
    return table


def test_one_document_a_label_leaves_no_spread() -> None:
    table = measured(np.random.default_rng(0), 1, rise=1.0)
    found = bootstrap_mask(mask_of(table, ["a", "b"]), samples=20)
    expected = [
        [(table[f"loss:{row}"] - table["loss"])[n] / table["tokens"][n] for n in range(2)] for row in ("a", "b")
    ]
    assert found.matrix[0] == pytest.approx(np.array(expected))
    assert found.matrix[1] == pytest.approx(np.array(expected))
    assert found.delta_target.tolist() == pytest.approx([np.trace(expected) / 2] * 2)


def test_intervals_equal_a_plain_bootstrap() -> None:
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


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(100):
        table = measured(np.random.default_rng(seed), 25, rise=0.3)
        low, high = bootstrap_mask(mask_of(table, ["a", "b"]), samples=300, level=0.9, seed=seed).delta_target
        held += low <= 0.3 <= high
    assert 78 <= held <= 98


def test_an_infinite_selectivity_is_null() -> None:
    """Where the others fall in some draws, the upper end has no number."""
    found = bootstrap_mask(mask_of(measured(np.random.default_rng(3), 10, rise=0.5), ["a", "b"]), samples=200)
    assert found.delta_others[0] < 0
    assert np.isinf(found.selectivity[1])
    answer = found.to_json()
    assert answer["selectivity"][1] is None
    assert answer["delta_target"] == found.delta_target.tolist()


def test_the_same_seed_draws_the_same_documents() -> None:
    result = mask_of(measured(np.random.default_rng(4), 10), ["a", "b"])
    first, again, other = (bootstrap_mask(result, samples=50, seed=seed).to_json() for seed in (1, 1, 2))
    assert first == again
    assert first != other
