"""Numbers as people read them, on pages and in reports."""

from __future__ import annotations

import math


def number(value: float, digits: int) -> str:
    """A number with a fixed number of decimals: ``–`` for NaN, ``∞`` for infinity."""
    if math.isnan(value):
        return "–"
    return f"{value:,.{digits}f}" if math.isfinite(value) else "∞"


def score_text(value: float) -> str:
    """A routing score or mass: two decimals, or two significant digits where those would hide it (0.0007)."""
    return f"{value:,.2f}" if abs(value) >= 0.095 or value == 0 else f"{value:.2g}"
