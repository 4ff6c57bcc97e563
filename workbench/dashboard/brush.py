"""A small histogram to brush: how many experts there are, how many pass the filters, and the range that is kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from dash.development.base_component import Component

BINS = 50
MOST_TICKS = 4


class Axis(NamedTuple):
    """An axis of ``distribution``: its title, and whether it is logarithmic."""

    title: str
    log: bool = False


class Brush(Component):
    """The Dash side of ``workbench.Brush`` in assets/brushes.js: a chart of ``distribution``, whose brush sets the
    filter of a column of a grid."""

    _namespace = "workbench"
    _type = "Brush"
    _prop_names = ["id", "grid", "field", "chart"]
    _base_nodes = ["children"]
    _valid_wildcard_attributes: list[str] = []
    chart: dict[str, Any]


def distribution(
    values: np.ndarray, passed: np.ndarray, axis: Axis, bounds: tuple[float | None, float | None] | None = None
) -> dict[str, Any]:
    """The chart of a ``Brush``. A logarithmic axis runs over exponents of ten.

    Args:
        values: (experts,); those missing, or not above 0 on a logarithmic axis, are left out.
        passed: (experts,) whether each passes.
        axis: the axis of the values.
        bounds: the range that the filters set on it, each end open where None.

    Returns:
        ``title``; ``log``; ``low`` and ``high``, the ends of the axis, a bin beyond the values either way; ``all`` and
        ``passed``, the experts of each bin; ``ticks``, each its share of the axis and its text; and ``range``, the
        bounds as shares of the axis, or None.
    """
    with np.errstate(all="ignore"):
        at = np.log10(values) if axis.log else values
    fit = np.isfinite(at)
    low, high = (float(at[fit].min()), float(at[fit].max())) if fit.any() else (0.0, 1.0)
    high = high if high > low else low + 1.0
    pad = (high - low) / (BINS - 2)
    low, high = low - pad, high + pad
    edges = np.linspace(low, high, BINS + 1)
    every, chosen = (np.histogram(at[some], edges)[0].tolist() for some in (fit, fit & passed))
    shares: list[float] | None = None
    if bounds is not None:
        reach = [float(np.log10(end)) if axis.log and end is not None and end > 0 else end for end in bounds]
        ends = [limit if end is None else end for end, limit in zip(reach, (low, high), strict=True)]
        shares = [min(max((end - low) / (high - low), 0.0), 1.0) for end in ends]
    return {
        "title": axis.title,
        "log": axis.log,
        "low": low,
        "high": high,
        "all": every,
        "passed": chosen,
        "ticks": [[(tick - low) / (high - low), text] for tick, text in _ticks(low, high, axis.log)],
        "range": shares,
    }


def _ticks(low: float, high: float, log: bool) -> list[tuple[float, str]]:
    """Round numbers on an axis, at most ``MOST_TICKS``, with their text."""
    if log:
        step = max(1.0, float(np.ceil((high - low) / MOST_TICKS)))
    else:
        power = 10.0 ** np.floor(np.log10((high - low) / MOST_TICKS))
        step = next(power * n for n in (1, 2, 2.5, 5, 10) if power * n * MOST_TICKS >= high - low)
    ticks = np.arange(np.floor(high / step), np.ceil(low / step) - 1, -1)[::-1] * step
    return [(float(tick), f"{10.0**tick if log else tick:g}") for tick in ticks]
