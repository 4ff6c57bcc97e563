"""Numbers are never rounded to a misleading zero."""

from __future__ import annotations

import pytest

from workbench.report.numbers import number, score_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0007, "0.000700"),
        (0.09996, "0.100"),
        (0.01234, "0.0123"),
        (0.000099994, "1.00e-04"),
        (99.94, "99.9"),
        (99.96, "100"),
        (-0.5, "-0.500"),
        (1234.567, "1,235"),
    ],
)
def test_score_text_keeps_three_significant_digits(value: float, text: str) -> None:
    assert score_text(value) == text


def test_number_shows_what_is_missing_or_infinite() -> None:
    assert [number(value, 2) for value in (float("nan"), float("inf"), 1.0)] == ["–", "∞", "1.00"]
