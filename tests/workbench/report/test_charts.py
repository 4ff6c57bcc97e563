"""Histograms of reports: bars on a logarithmic count axis, edges numbered where there is room."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.report.charts import histogram_bars, histogram_lines, histogram_ticks, used_bins


def test_bars_are_logarithmic_and_empty_ones_flat() -> None:
    counts = [1, 0, 10, 100]
    rows = [{"low": float(n), "high": n + 1.0, "count": count} for n, count in enumerate(counts)]
    heights = [bar.height for bar in histogram_bars(rows)]
    assert heights[1] == 0
    assert 0 < heights[0] < heights[2] < heights[3] < 1
    assert heights[3] - heights[2] == pytest.approx(heights[2] - heights[0])
    assert [(count, pytest.approx(heights[at])) for count, at in ((1, 0), (10, 2), (100, 3))] == histogram_lines(rows)


def test_empty_ends_are_left_out_and_gaps_kept() -> None:
    table = pd.DataFrame({"low": range(5), "high": range(1, 6), "count": [0, 3, 0, 2, 0]})
    assert used_bins(table)["low"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("bins", range(1, 21))
def test_last_edge_is_numbered(bins: int) -> None:
    ticks = histogram_ticks(bins)
    assert ticks[-1] == bins
    assert len(ticks) <= 11
