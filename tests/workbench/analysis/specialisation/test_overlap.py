"""Shared experts of labels, by hand and on a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.analysis import label_overlap
from workbench.errors import WorkbenchError
from workbench.store import Run


def run_of(mass: dict[str, list[float]]) -> Any:
    """A run of one group with such masses of its experts by label."""
    table = pd.DataFrame({f"mass:{label}": values for label, values in mass.items()})
    return SimpleNamespace(labels=list(mass), groups=[0], experts=lambda group, columns: table[columns])


def test_label_overlap_by_hand() -> None:
    """Cores at 0.5: a {0}, b {2, 0}, c {0, 2}; masses are compared as parts of a label's own."""
    found = label_overlap(run_of({"a": [6, 2, 2], "b": [0.4, 0.2, 0.4], "c": [40, 20, 40]}), coverage=0.5)
    assert found.core.to_dict() == {"a": 1, "b": 2, "c": 2}
    assert found.jaccard.to_numpy().tolist() == [[1, 0.5, 0.5], [0.5, 1, 1], [0.5, 1, 1]]
    assert found.shared.to_numpy().round(9).tolist() == [[1, 0.8, 0.8], [0.8, 1, 1], [0.8, 1, 1]]
    assert found.to_json()["core"] == [1, 2, 2]


def test_label_overlap_of_some_labels_is_that_part_of_all() -> None:
    run = run_of({"a": [6, 2, 2], "b": [0.4, 0.2, 0.4], "c": [40, 20, 40]})
    some, every = label_overlap(run, labels=["c", "a"]), label_overlap(run)
    pd.testing.assert_frame_equal(some.shared, every.shared.loc[["c", "a"], ["c", "a"]])


def test_label_overlap_of_a_run_equals_sets_of_core_experts(run: Run) -> None:
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
def test_label_overlap_refuses_coverage_out_of_range(run: Run, coverage: float) -> None:
    with pytest.raises(WorkbenchError, match="coverage must lie above 0"):
        label_overlap(run, coverage)
