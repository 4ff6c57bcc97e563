from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from workbench.studies.fingerprint.erase_result import ORDERS, EraseResult
from workbench.studies.fingerprint.figures import count_figure, holders_figure, price_figure
from workbench.studies.fingerprint.locate_result import LocateResult


@pytest.fixture
def erased() -> EraseResult:
    """Two removals of each order, after nothing removed."""
    rows = [
        {"units": "experts", "order": order, "draw": 0, "removed": removed, "share": removed / 100, "chose": 0.5}
        | {"others": success, "loss": 2.0, "rise": removed / 10, "low": 0.0, "high": 3.0}
        for order in ORDERS
        for removed, success in ((0, 1.0), (4, 0.5), (20, 0.1))
        if removed or order == "located"
    ]
    sizes = {"seed": 0, "draws": 1, "chose": 10, "others": 10, "documents": 3}
    return EraseResult(
        "c", "b", "direct", **sizes, total={"experts": 100}, points=pd.DataFrame(rows), labels=pd.DataFrame()
    )


def test_success_of_the_other_keys_is_drawn_against_its_price(erased: EraseResult) -> None:
    figure = price_figure(erased)
    assert [trace.name for trace in figure.data] == list(ORDERS.values())
    for trace in figure.data:
        np.testing.assert_allclose(trace.x, [0, 0.4, 2.0])
        np.testing.assert_allclose(trace.y, [1.0, 0.5, 0.1])
        np.testing.assert_allclose(np.array(trace.x) + trace.error_x.array, [3.0, 3.0, 3.0])
    looks = [(trace.marker.symbol, trace.line.dash) for trace in figure.data]
    assert len({symbol for symbol, _ in looks}) == len({dash for _, dash in looks}) == len(ORDERS)


def test_counts_are_drawn_without_nothing(erased: EraseResult) -> None:
    figure = count_figure(erased)
    assert figure.layout.xaxis.type == "log"
    for trace in figure.data:
        np.testing.assert_allclose(trace.x, [4, 20])


def _located(difference: list[float], half: int, most: int) -> LocateResult:
    nothing = pd.DataFrame()
    numbers = dict.fromkeys(("quantile", "completeness", "overlap", "overlap_base", "dormant", "dormant_base"), 0.0)
    return LocateResult(
        commitment="c",
        base="b",
        method="direct",
        count=2,
        total=9,
        half=half,
        most=most,
        **numbers,
        experts=pd.DataFrame({"difference": difference}),
        **dict.fromkeys(("fingerprints", "strongest", "groups", "parts"), nothing),
    )


def test_share_that_experts_hold_is_cumulative() -> None:
    figure = holders_figure(_located([5.0, 3.0, 2.0, -4.0], 1, 3))
    line, half, most = figure.data
    np.testing.assert_allclose(line.x, [1, 2, 3])
    np.testing.assert_allclose(line.y, [0.5, 0.8, 1.0])
    assert (half.x, half.text) == ((1,), ("50%: 1",))
    assert (most.x, most.text) == ((3,), ("90%: 3",))


def test_figures_of_nothing_are_empty(erased: EraseResult) -> None:
    assert [len(trace.x) for trace in holders_figure(_located([-1.0], 0, 0)).data] == [0]
    whole = dataclasses.replace(erased, points=erased.points.head(1))
    assert not count_figure(whole).data
