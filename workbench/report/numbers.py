"""Numbers as people read them, on pages and in reports."""

from __future__ import annotations

import math


def number(value: float, digits: int) -> str:
    """A number with a fixed number of decimals: ``–`` for NaN, ``∞`` for infinity."""
    if math.isnan(value):
        return "–"
    return f"{value:,.{digits}f}" if math.isfinite(value) else "∞"


def score_text(value: float) -> str:
    """A routing score or mass to three significant digits; whole from 100 on.

    Examples:
        >>> from workbench.report.numbers import score_text
        >>> [score_text(value) for value in (0.5, 0.00123456, 12.345, 1234.5)]
        ['0.500', '0.00123', '12.3', '1,234']
    """
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if abs(value) >= 0.0001 else f"{value:.2e}"
