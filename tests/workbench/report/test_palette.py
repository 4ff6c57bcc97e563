"""Colours of labels and scores."""

from __future__ import annotations

from workbench.report.palette import label_colours, score_shade


def test_fourteen_labels_get_fourteen_colours() -> None:
    assert len(set(label_colours([f"label {n}" for n in range(14)]).values())) == 14


def test_shade_grows_with_the_score_and_stays_a_percentage() -> None:
    assert [score_shade(score, 0.5) for score in (-1, 0, 0.1, 0.5, 0.9)] == ["0%", "0%", "20%", "100%", "100%"]
    assert score_shade(0.0, 0.0) == "0%"
