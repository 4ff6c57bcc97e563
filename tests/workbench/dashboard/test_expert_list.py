"""The list of experts: its first filters, what the address changes, and states of experts without a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import pytest

from workbench import open_run
from workbench.dashboard import grid
from workbench.dashboard.application import create_app
from workbench.dashboard.context import Context
from workbench.dashboard.expert_list import RULES, answer_rows, chosen_labels, expert_list
from workbench.dashboard.links import Address
from workbench.dashboard.tables import TOO_LITTLE
from workbench.errors import BadInputError


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


def _grid(ctx: Context, **query: str) -> grid.dag.AgGrid:
    return _grid_among(expert_list(ctx, "experts-grid", 0, Address("overview", query=query)))


def _grid_among(parts: list[Any]) -> grid.dag.AgGrid:
    return next(part.children for part in parts if getattr(getattr(part, "children", None), "id", "") == "experts-grid")


def _rows(size: int) -> pd.DataFrame:
    return pd.DataFrame({"tokens": [20] * size, "max": 0.1, "confirmed": pd.Categorical(["yes"] * size, ["no", "yes"])})


def test_rules_take_the_readable_and_no_others() -> None:
    table = _rows(4)
    table.loc[1, "tokens"], table.loc[2, "max"], table.loc[3, "confirmed"] = 19, 0.099, "no"
    assert grid.passing(table, RULES).tolist() == [True, False, False, False]


def test_list_without_readable_experts_shows_all_and_says_so(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "tokens", {"filterType": "number", "type": "greaterThan", "filter": 10**9})
    assert _grid(ctx).filterModel == {}
    assert "so all are listed" in repr(expert_list(ctx, "experts-grid", 0, Address("overview")))


def _of_no_label(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctx, "listed", lambda group, listed=ctx.listed: listed(group).assign(specialised=""))


def test_label_without_specialised_experts_is_told_in_a_sentence(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    _of_no_label(ctx, monkeypatch)
    (said,) = expert_list(ctx, "label-grid", 0, Address("label"), label=ctx.labels[0])
    assert f" in {ctx.labels[0]}." in repr(said)


def test_map_of_a_label_without_specialised_experts_lists_all(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    _of_no_label(ctx, monkeypatch)
    parts = expert_list(ctx, "experts-grid", 0, Address("overview"), highlight=ctx.labels[0])
    assert "specialised" not in _grid_among(parts).filterModel
    assert "Those of every label are listed." in repr(parts)


def test_list_with_readable_experts_shows_them_by_interest(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RULES:
        monkeypatch.setitem(RULES, name, {"filterType": "number", "type": "greaterThan", "filter": 0})
    monkeypatch.delitem(RULES, "confirmed")
    drawn = _grid(ctx)
    assert drawn.filterModel == RULES
    assert [column["field"] for column in drawn.columnDefs if "sort" in column] == ["interest"]
    rows, _ = grid.select(ctx.listed(0), {"sortModel": [{"colId": "interest", "sort": "desc"}]})
    assert rows["interest"].dropna().is_monotonic_decreasing


@pytest.mark.parametrize("grid_id", ["experts-grid", "label-grid"])
def test_no_rows_are_sent_before_the_grid_asks(ctx: Context, grid_id: str) -> None:
    (rows,) = [one for one in create_app(ctx.run)._callback_list if one["output"] == f"{grid_id}.getRowsResponse"]
    assert rows["prevent_initial_call"]


def test_rows_have_tokens_and_explanations_as_they_are_shown(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    expert = int(ctx.listed(0)["expert"].iloc[0])
    monkeypatch.setattr(ctx, "explained", lambda group, experts: {expert: "Fires at `x`. \u202ehidden"})
    first, second = answer_rows(ctx, 0, None, {"startRow": 0, "endRow": 2})["rowData"]
    assert (first["expert"], first["explanation"]) == (expert, "Fires at `x`. \\u202ehidden")
    assert second["explanation"] == ""
    assert first["preview"] == ctx.previews(0, [expert])[0]


def test_address_sets_filter_order_and_row(ctx: Context) -> None:
    asked = {"mass": {"filterType": "number", "type": "greaterThan", "filter": 1}}
    drawn = _grid(ctx, filter=json.dumps(asked), sort="mass-asc", row="130")
    assert drawn.filterModel == asked
    assert [(c["field"], c["sort"]) for c in drawn.columnDefs if "sort" in c] == [("mass", "asc")]
    assert drawn.scrollTo["rowIndex"] == 130


@pytest.mark.parametrize(
    "query",
    [
        {"filter": "{"},
        {"filter": "[]x"},
        {"filter": '{"nothing": {}}'},
        {"filter": '{"mass": {"filterType": "number", "type": "nonsense"}}'},
        {"filter": '{"mass": 3}'},
        {"sort": "nothing-asc"},
        {"sort": "mass-sideways"},
    ],
)
def test_address_of_no_list_is_refused_in_words(ctx: Context, query: dict[str, str]) -> None:
    with pytest.raises(BadInputError, match="address|order"):
        _grid(ctx, **query)
    assert create_app(ctx.run).server.test_client().get(f"/?{urlencode(query)}").status_code == 400


def test_experts_of_too_few_tokens_are_no_generalists(ctx: Context) -> None:
    table, listed = ctx.experts(0), ctx.listed(0).set_index("expert")
    few = table.index[(table["tokens"] < ctx.min_tokens)]
    assert (listed.loc[few, "specialised"] == TOO_LITTLE).all()
    assert {ctx.kind(0, int(expert)) for expert in few} <= {TOO_LITTLE}
    enough = table.index[(table["tokens"] >= ctx.min_tokens) & (table["specialised"] == "")]
    assert (listed.loc[enough, "specialised"] == "generalist").all()
    assert {ctx.kind(0, int(expert)) for expert in enough} <= {"generalist"}
    codes = ctx.codes(0)
    assert (codes == len(ctx.run.labels) + 1).sum() == len(few)


def _equals(name: str) -> dict[str, Any]:
    return {"filterType": "text", "type": "equals", "filter": name}


def _any_of(*names: str) -> dict[str, Any]:
    return {"filterType": "text", "operator": "OR", "conditions": [_equals(name) for name in names]}


def test_several_labels_are_listed_together_and_shown_as_chosen(ctx: Context) -> None:
    names = [*ctx.labels[:2], TOO_LITTLE]
    model = _any_of(*names)
    rows, count = grid.select(ctx.listed(0), {"filterModel": {"specialised": model}})
    assert count == int(ctx.listed(0)["specialised"].isin(names).sum()) > 0
    assert set(rows["specialised"]) <= set(names)
    parts = expert_list(
        ctx, "experts-grid", 0, Address("overview", query={"filter": json.dumps({"specialised": model})})
    )
    assert f"value={names!r}" in repr(parts)
    assert _grid_among(parts).filterModel == {"specialised": model}


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (None, []),
        (_equals("lua"), ["lua"]),
        (_any_of("lua", "c, d"), ["lua", "c, d"]),
        (_any_of("lua", "html") | {"operator": "AND"}, []),
        ({"filterType": "text", "type": "contains", "filter": "lu"}, []),
        ({"filterType": "text", "operator": "OR", "conditions": [_equals("lua"), {"type": "blank"}]}, []),
    ],
)
def test_only_a_filter_of_labels_is_a_choice_of_labels(model: dict[str, Any] | None, names: list[str]) -> None:
    assert chosen_labels(model) == names


def test_labels_are_offered_where_the_list_has_several(ctx: Context) -> None:
    assert "id='experts-grid-labels'" in repr(expert_list(ctx, "experts-grid", 0, Address("overview")))
    of_one = repr(expert_list(ctx, "label-grid", 0, Address("label"), label=str(ctx.listed(0)["specialised"].iloc[0])))
    assert "display='none'" in of_one.partition("label-grid-count")[0]


def test_the_columns_fit_a_window_of_1280_pixels_without_the_spare_ones() -> None:
    room = 1280 - 40 - 34 - 15 - 15  # the page's and the panel's margins, and two scrollbars
    widths = {column["field"]: column["minWidth"] for column in grid.EXPERT_COLUMNS}
    assert set(grid.SPARE) <= set(widths)
    assert grid.BOXES["width"] + sum(width for name, width in widths.items() if name not in grid.SPARE) <= room
