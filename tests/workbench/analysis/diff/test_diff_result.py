"""The stored difference of two models: rankings, concentration, and what a run keeps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.analysis import DiffResult, read_diff
from workbench.analysis.diff.diff_result import CHANGES, holders
from workbench.analysis.diff.sums import concentration
from workbench.analysis.results import write_result
from workbench.errors import BadInputError, UnsupportedError
from workbench.store import Run


def _result(**columns: list[float]) -> DiffResult:
    rows = len(next(iter(columns.values())))
    known = {"group": 0, "expert": range(rows), "base_tokens": 20, "tuned_tokens": 0, "base_mass": 1.0}
    experts = pd.DataFrame(known | dict.fromkeys(CHANGES.values(), 0.0) | columns, index=range(rows))
    labels = pd.DataFrame({"label": ["a"], "tokens": [9], "predicted": [8]})
    groups = pd.DataFrame([concentration(experts, 0)])
    return DiffResult({"path": "b", "hash": {}}, {"path": "t", "hash": {}}, "c", 2, 9, 8, experts, labels, groups)


@given(st.lists(st.floats(0, 1e6), max_size=12), st.floats(0.01, 1))
def test_the_fewest_hold_a_part_and_one_less_does_not(values: list[float], part: float) -> None:
    array = np.array(values)
    n, largest = holders(array, part), np.sort(array)[::-1]
    if array.sum() == 0:
        assert n == 0
        return
    wanted = part * array.sum()
    assert largest[:n].sum() >= wanted * (1 - 1e-9)
    assert n == 1 or largest[: n - 1].sum() < wanted * (1 + 1e-9)


def test_ranking_is_by_absolute_change_then_address_and_leaves_out_what_says_little() -> None:
    result = _result(
        mass_change=[1.0, -3.0, 1.0, 9.0],
        base_tokens=[20, 0, 20, 19],
        tuned_tokens=[0, 20, 0, 3],
        contribution_change=[np.nan, 0.5, -0.7, 0.1],
    )
    assert result.ranked("mass")["expert"].tolist() == [1, 0, 2]
    assert result.ranked("mass", 2, min_tokens=1)["expert"].tolist() == [3, 1]
    assert result.ranked("contribution")["expert"].tolist() == [2, 1]
    with pytest.raises(BadInputError, match="size"):
        result.ranked("size")


def test_concentration_counts_what_holds_half_and_energy_of_outputs() -> None:
    groups = _result(mass_change=[1, -4, 1, 2], output_change=[3, 4, 0, 0], contribution_moved=[1, 1, 1, 1]).groups
    assert groups.iloc[0].to_dict() == {
        "group": 0, "distinct": 4, "base_mass": 2, "mass": 1, "output": 1, "contribution": 0, "moved": 2,
    }  # fmt: skip


def test_a_run_keeps_it_and_refuses_another_runs(run: Run) -> None:
    assert read_diff(run) is None
    result = _result(mass_change=[1.0, 2.0])
    write_result(run, result)
    again = read_diff(run)
    assert again is not None
    assert again.to_json() == result.to_json()
    for name in result.tables:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name))
    run.manifest["settings"]["context"] += 1
    with pytest.raises(UnsupportedError, match="another run"):
        read_diff(run)
