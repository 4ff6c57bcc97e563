"""Geometry of the charts in a report, in units of the chart; the templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

FLOOR = 0.7  # where a logarithmic count axis starts, so that a single token still shows
HEADROOM = 1.6
FEW_BINS = 10


class Bar(NamedTuple):
    """A bar of a histogram: its height as a fraction of the chart, its range of scores, and its tokens."""

    height: float
    low: float
    high: float
    tokens: int


def used_bins(table: pd.DataFrame) -> pd.DataFrame:
    """The bins of a histogram (low, high, count) from the first that is not empty to the last."""
    used = np.flatnonzero(table["count"])
    return table.iloc[used[0] : used[-1] + 1]


def histogram_bars(rows: Sequence[dict[str, Any]]) -> list[Bar]:
    """The bars of a histogram on a logarithmic count axis, one per bin; an empty bin has height 0.

    Args:
        rows: low, high, count of each range, in order.
    """
    reach = _reach(rows)
    heights = [math.log(row["count"] / FLOOR) / reach if row["count"] else 0.0 for row in rows]
    return [Bar(height, row["low"], row["high"], row["count"]) for height, row in zip(heights, rows, strict=True)]


def histogram_lines(rows: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    """The powers of ten on the count axis, and their heights in 0..1 of the chart."""
    reach = _reach(rows)
    powers = range(int(math.log10(max(row["count"] for row in rows))) + 1)
    return [(10**power, math.log(10**power / FLOOR) / reach) for power in powers]


def histogram_ticks(bins: int) -> range:
    """Edges of a histogram's bins that are numbered: all if there are few bins, else every third; always the last."""
    return range(bins % 3, bins + 1, 3) if bins > FEW_BINS else range(bins + 1)


def interval_reach(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Ends of an axis that holds 0 and every rise with its interval; rows have rise, low and high."""
    ends = [0.0, *(row[name] for row in rows for name in ("rise", "low", "high"))]
    return min(ends), max(ends)


def density_cells(first: np.ndarray, second: np.ndarray, cells: int) -> tuple[np.ndarray, float, float]:
    """Number of points in each cell of a square with logarithmic axes, and the ends of both axes as powers of ten.

    Args:
        first, second: (n,) positive numbers, of the horizontal and the vertical axis.
        cells: on a side.

    Returns:
        (cells, cells) counts, row 0 at the bottom; the low and the high end.
    """
    x, y = np.log10(first), np.log10(second)
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    high = high if high > low else low + 1
    counts, _, _ = np.histogram2d(y, x, bins=cells, range=[[low, high], [low, high]])
    return counts.astype(np.int64), low, high


def _reach(rows: Sequence[dict[str, Any]]) -> float:
    return math.log(max(row["count"] for row in rows) * HEADROOM / FLOOR)
