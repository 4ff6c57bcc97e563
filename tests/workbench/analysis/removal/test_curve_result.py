"""Reading a trade-off curve at its budget, and from a run."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from workbench.analysis import RemovalCurve, read_curve
from workbench.analysis.removal.curve_result import column
from workbench.analysis.results import write_result
from workbench.errors import UnsupportedError
from workbench.store import Run


def test_at_budget_interpolates_between_thresholds() -> None:
    """Others rise by 0.01, then 0.03: the budget of 0.02 lies half way."""
    rows = []
    for threshold, removed, others, target in ((4.0, 10, 0.01, 0.2), (2.0, 30, 0.03, 0.6)):
        for label, more in (("a", 0.0), ("b", 0.1)):
            row = {"threshold": threshold, "label": label, "removed": removed}
            rows.append(row | {"kind": "chosen", "target": target + more, "others": others})
            rows.append(row | {"kind": "random", "target": 0.01 * others, "others": others})
    nothing = pd.DataFrame()
    curve = RemovalCurve(["a", "b"], "preference", 0.02, pd.DataFrame(rows), nothing, 1, 0)
    found = curve.at_budget()
    assert found is not None
    assert found["chosen"] == pytest.approx({"removed": 20, "target": 0.45, "others": 0.02})
    assert found["random"] == pytest.approx({"removed": 20, "target": 0.0002, "others": 0.02})
    first = RemovalCurve(["a", "b"], "preference", 0.005, pd.DataFrame(rows), nothing, 1, 0).at_budget()
    assert first is not None
    assert first["chosen"] == pytest.approx({"removed": 5, "target": 0.125, "others": 0.005})
    assert RemovalCurve(["a", "b"], "preference", 0.04, pd.DataFrame(rows), nothing, 1, 0).at_budget() is None


CURVE = RemovalCurve(
    ["a", "b"],
    "preference",
    0.02,
    pd.DataFrame(
        {"threshold": [2.0], "kind": ["chosen"], "label": ["a"], "removed": [3], "target": [0.5], "others": 0.1}
    ),
    pd.DataFrame({"doc": [0], "label": ["a"], "tokens": [9.0], "loss": [1.0], column("chosen", 2.0, "a"): [2.0]}),
    1,
    0,
)


def test_read_curve_returns_what_was_written_under_each_name(run: Run) -> None:
    assert read_curve(run) is None
    write_result(run, CURVE, "by-ratio")
    assert read_curve(run) is None
    found = read_curve(run, "by-ratio")
    assert found is not None
    assert found.to_json() == CURVE.to_json()
    pd.testing.assert_frame_equal(found.documents, CURVE.documents)


def test_read_curve_names_the_command_where_an_old_file_lacks_the_order(run: Run) -> None:
    write_result(run, CURVE)
    path = run.analysis_path("curve.json")
    stored = json.loads(path.read_text())
    del stored["result"]
    path.write_text(json.dumps(stored))
    assert read_curve(run) is not None
    del stored["order"]
    path.write_text(json.dumps(stored))
    with pytest.raises(UnsupportedError, match=f"lacks 'order'.*run `monet curve {run.path}` again"):
        read_curve(run)
