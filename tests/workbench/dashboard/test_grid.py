"""The grid's blocks of rows: filtered, sorted and cut on the server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.dashboard.grid import BLOCK, response, select

rng = np.random.default_rng(7)
SIZE = 1000
KINDS = ["generalist", "too little data", "lua", "c++ (a*b)"]
TABLE = pd.DataFrame(
    {
        "expert": np.sort(rng.choice(4096, SIZE, replace=False)),
        "tokens": rng.integers(1, 50, SIZE),
        "mass": rng.random(SIZE),
        "max": rng.random(SIZE),
        "specialised": pd.Categorical(rng.choice(KINDS, SIZE), KINDS),
        "monosemanticity": np.where(rng.random(SIZE) < 0.1, np.nan, rng.random(SIZE)),
    }
)


def _number(kind: str, value: float, upper: float | None = None) -> dict[str, Any]:
    return {"filterType": "number", "type": kind, "filter": value, "filterTo": upper}


def test_block_is_cut_after_sorting() -> None:
    request = {"startRow": 100, "endRow": 200, "sortModel": [{"colId": "mass", "sort": "desc"}]}
    rows, count = select(TABLE, request)
    assert count == SIZE
    assert rows["expert"].tolist() == TABLE.sort_values("mass", ascending=False)["expert"].iloc[100:200].tolist()


def test_no_request_makes_the_server_send_more_than_a_block() -> None:
    rows, _ = select(TABLE, {"startRow": 0, "endRow": 10**9})
    assert len(rows) == BLOCK


def test_sorting_by_two_columns_and_missing_numbers_last() -> None:
    order = [{"colId": "specialised", "sort": "asc"}, {"colId": "monosemanticity", "sort": "desc"}]
    rows, _ = select(TABLE, {"sortModel": order})
    assert rows["monosemanticity"].dropna().is_monotonic_decreasing
    rows, count = select(TABLE, {"startRow": SIZE - 5, "sortModel": [{"colId": "monosemanticity", "sort": "asc"}]})
    assert rows["monosemanticity"].isna().all()


@pytest.mark.parametrize(
    ("column", "model", "expected"),
    [
        ("tokens", _number("equals", 7), TABLE["tokens"] == 7),
        ("tokens", _number("notEqual", 7), TABLE["tokens"] != 7),
        ("tokens", _number("lessThan", 7), TABLE["tokens"] < 7),
        ("tokens", _number("lessThanOrEqual", 7), TABLE["tokens"] <= 7),
        ("mass", _number("greaterThan", 0.5), TABLE["mass"] > 0.5),
        ("mass", _number("greaterThanOrEqual", 0.5), TABLE["mass"] >= 0.5),
        ("mass", _number("inRange", 0.2, 0.4), TABLE["mass"].between(0.2, 0.4)),
        ("monosemanticity", {"filterType": "number", "type": "blank"}, TABLE["monosemanticity"].isna()),
        ("monosemanticity", {"filterType": "number", "type": "notBlank"}, TABLE["monosemanticity"].notna()),
        ("specialised", {"filterType": "text", "type": "equals", "filter": "LUA"}, TABLE["specialised"] == "lua"),
        (
            "specialised",
            {"filterType": "text", "type": "contains", "filter": "(a*"},
            TABLE["specialised"] == "c++ (a*b)",
        ),
        ("specialised", {"filterType": "text", "type": "notContains", "filter": "u"}, TABLE["specialised"] != "lua"),
        (
            "specialised",
            {"filterType": "text", "type": "startsWith", "filter": "c+"},
            TABLE["specialised"] == "c++ (a*b)",
        ),
        ("specialised", {"filterType": "text", "type": "endsWith", "filter": "ua"}, TABLE["specialised"] == "lua"),
        ("specialised", {"filterType": "text", "type": "equals", "filter": KINDS[0]}, TABLE["specialised"] == KINDS[0]),
        (
            "specialised",
            {"filterType": "text", "type": "startsWith", "filter": "too"},
            TABLE["specialised"] == KINDS[1],
        ),
    ],
)
def test_every_filter_keeps_what_it_says(column: str, model: dict[str, Any], expected: pd.Series) -> None:
    rows, count = select(TABLE, {"filterModel": {column: model}})
    assert 0 < count < SIZE
    assert count == int(expected.sum())
    assert rows["expert"].tolist() == TABLE.loc[expected, "expert"].head(BLOCK).tolist()


def test_two_conditions_are_joined_as_asked() -> None:
    conditions = [_number("lessThan", 5), _number("greaterThan", 40)]
    for operator, expected in (("OR", (TABLE["tokens"] < 5) | (TABLE["tokens"] > 40)), ("AND", TABLE["tokens"] < 0)):
        model = {"filterType": "number", "operator": operator, "conditions": conditions}
        assert select(TABLE, {"filterModel": {"tokens": model}})[1] == int(expected.sum())


def test_answer_is_strict_json() -> None:
    rows, count = select(TABLE, {"startRow": SIZE - 5, "sortModel": [{"colId": "monosemanticity", "sort": "asc"}]})
    answer = response(rows, count)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert answer["rowCount"] == SIZE
    assert answer["rowData"][0]["monosemanticity"] is None


def test_the_largest_group_is_sorted_and_its_first_block_returned() -> None:
    size = 262_144
    big = pd.DataFrame({name: rng.random(size) for name in ("interest", "density", "max", "mass")})
    rows, count = select(big, {"sortModel": [{"colId": "mass", "sort": "desc"}]})
    assert count == size
    assert rows["mass"].tolist() == np.sort(big["mass"])[::-1][:BLOCK].tolist()
