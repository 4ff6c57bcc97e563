"""Numbers are never rounded to a misleading zero."""

from __future__ import annotations

import pytest

from workbench.report.numbers import number, score_text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.0007, "0.0007"), (0.0994, "0.10"), (0.01234, "0.012"), (1234.567, "1,234.57")]
)
def test_score_text_keeps_two_significant_digits(value: float, text: str) -> None:
    assert score_text(value) == text


def test_number_shows_what_is_missing_or_infinite() -> None:
    assert [number(value, 2) for value in (float("nan"), float("inf"), 1.0)] == ["–", "∞", "1.00"]
