"""Histograms to brush: every expert is counted once, and the filter's range is where it is on the axis."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.dashboard.brush import MOST_TICKS, Axis, distribution


def test_distribution_counts_every_expert_once_and_those_that_pass_over_it() -> None:
    values = np.array([0.001, 0.01, 0.01, 0.1, 1.0, 0.0, np.nan])
    passed = np.array([False, True, True, False, True, True, True])
    chart = distribution(values, passed, Axis("score", log=True), (0.01, None))
    assert (sum(chart["all"]), sum(chart["passed"])) == (5, 3)
    assert all(chosen <= every for chosen, every in zip(chart["passed"], chart["all"], strict=True))
    assert [text for _, text in chart["ticks"]] == ["0.001", "0.01", "0.1", "1"]
    from_, to = chart["range"]
    assert chart["low"] + from_ * (chart["high"] - chart["low"]) == pytest.approx(-2)
    assert to == 1


def test_range_beyond_the_axis_ends_with_it() -> None:
    chart = distribution(np.array([1.0, 2.0]), np.array([True, True]), Axis("nats"), (-9.0, 9.0))
    assert chart["range"] == [0, 1]


def test_distribution_of_nothing_is_empty() -> None:
    chart = distribution(np.array([np.nan]), np.array([True]), Axis("score"))
    assert sum(chart["all"]) == 0
    assert chart["range"] is None


@pytest.mark.parametrize("high", [0.003, 0.7, 1.0, 4.0, 5.9, 120.0])
@pytest.mark.parametrize("log", [True, False])
def test_ticks_are_few_and_on_the_axis(high: float, log: bool) -> None:
    values = np.geomspace(high / 1e6, high, 9) if log else np.linspace(0, high, 9)
    ticks = distribution(values, np.ones(9, bool), Axis("value", log))["ticks"]
    assert 2 <= len(ticks) <= MOST_TICKS + 1
    assert all(0 <= at <= 1 for at, _ in ticks)
