"""The grid of experts: the browser asks for blocks of rows; the server filters, sorts and slices."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import numpy as np
import pandas as pd

from ..report.glossary import GLOSSARY
from .context import GENERAL
from .links import expert_template

BLOCK = 100
_NUMBER = {"filter": "agNumberColumnFilter", "type": "rightAligned"}

_TEXT = {
    "filter": "agTextColumnFilter",
    "filterParams": {
        "buttons": ["reset"],
        "filterOptions": ["equals", "notEqual", "contains", "notContains", "startsWith", "endsWith"],
        "maxNumConditions": 2,
    },
}


def _decimals(places: int) -> dict[str, Any]:
    return {"valueFormatter": {"function": f"params.value == null ? '–' : d3.format(',.{places}f')(params.value)"}}


_WHOLE = {"valueFormatter": {"function": "d3.format(',d')(params.value)"}}
_SCORE = {"valueFormatter": {"function": "scoreText(params.value)"}}


def _means(term: str) -> dict[str, str]:
    return {"headerTooltip": GLOSSARY[term]}


EXPERT_COLUMNS: tuple[dict[str, Any], ...] = (
    {"field": "expert", "headerName": "expert", "cellRenderer": "ExpertLink", "minWidth": 96, **_NUMBER},
    {"field": "specialised", "headerName": "label", "cellRenderer": "LabelSwatch", "minWidth": 104, **_TEXT}
    | _means("specialised"),
    {"field": "monosemanticity", "headerName": "monosemanticity", "minWidth": 148, **_NUMBER, **_decimals(3)}
    | _means("monosemanticity"),
    {"field": "mass", "headerName": "mass", "minWidth": 104, **_NUMBER, **_SCORE} | _means("mass"),
    {"field": "tokens", "headerName": "tokens", **_NUMBER, **_WHOLE}
    | {"headerTooltip": "Tokens at which the expert is active."},
    {"field": "mean", "headerName": "mean", **_NUMBER, **_SCORE} | _means("mean score"),
    {"field": "max", "headerName": "max", **_NUMBER, **_SCORE} | {"headerTooltip": "Highest routing score."},
)
TOP_TOKENS = {
    "field": "preview",
    "headerName": "top tokens",
    "filter": False,
    "sortable": False,
    "minWidth": 340,
    "flex": 3,
    "cellClass": "token-preview",
}


def expert_grid(
    grid_id: str,
    group: int,
    colours: dict[str, str],
    columns: tuple[dict[str, Any], ...] = EXPERT_COLUMNS,
    hidden: tuple[str, ...] = (),
) -> dag.AgGrid:
    """An infinite-scroll grid of a group's experts; rows come from a callback on ``getRowsRequest``.

    Args:
        grid_id: component id.
        group: the group whose experts are linked.
        colours: label -> colour of its swatch.
        columns: column definitions; rows are sorted by ``mass`` at first, largest first.
        hidden: fields of columns to leave out.
    """
    return dag.AgGrid(
        id=grid_id,
        columnDefs=[
            c | ({"sort": "desc"} if c["field"] == "mass" else {}) for c in columns if c["field"] not in hidden
        ],
        defaultColDef={
            "sortable": True,
            "resizable": True,
            "flex": 1,
            "minWidth": 84,
            "filterParams": {"buttons": ["reset"], "maxNumConditions": 2},
        },
        rowModelType="infinite",
        dashGridOptions={
            "theme": {"function": "monetTheme(themeQuartz)"},
            "cacheBlockSize": BLOCK,
            "maxBlocksInCache": 20,
            "infiniteInitialRowCount": 1,
            "context": {"address": expert_template(group), "colours": colours},
            "tooltipShowDelay": 300,
            "enableCellTextSelection": True,
            "animateRows": False,
        },
        eventListeners={"cellKeyDown": ["openExpert(params)"]},
        className="expert-grid",
        style={"height": "100%", "width": "100%"},
    )


def _number_test(column: pd.Series, model: dict[str, Any]) -> pd.Series:
    value, upper = model.get("filter"), model.get("filterTo")
    if model["type"] in ("blank", "notBlank"):
        return column.isna() == (model["type"] == "blank")
    tests = {
        "equals": lambda: column == value,
        "notEqual": lambda: column != value,
        "lessThan": lambda: column < value,
        "lessThanOrEqual": lambda: column <= value,
        "greaterThan": lambda: column > value,
        "greaterThanOrEqual": lambda: column >= value,
        "inRange": lambda: (column > value) & (column < upper),
    }
    return tests[model["type"]]()


def _text_test(column: pd.Series, model: dict[str, Any]) -> pd.Series:
    names, value = column.cat.categories, str(model.get("filter") or "").lower()
    text = names.to_series().str.lower()
    tests = {
        "equals": lambda: text == value,
        "notEqual": lambda: text != value,
        "contains": lambda: text.str.contains(value, regex=False),
        "notContains": lambda: ~text.str.contains(value, regex=False),
        "startsWith": lambda: text.str.startswith(value),
        "endsWith": lambda: text.str.endswith(value),
    }
    return column.isin(names[tests[model["type"]]()])


def _matches(column: pd.Series, model: dict[str, Any]) -> np.ndarray:
    conditions = model.get("conditions") or [model]
    test = _number_test if model["filterType"] == "number" else _text_test
    passed = [test(column, condition).to_numpy(dtype=bool) for condition in conditions]
    combine = np.logical_or if model.get("operator") == "OR" else np.logical_and
    return np.asarray(combine.reduce(passed))


def select(table: pd.DataFrame, request: dict[str, Any]) -> tuple[pd.DataFrame, int]:
    """The block of rows that a grid asks for, and how many rows pass its filter.

    Args:
        table: index ``expert``; columns of ``EXPERT_COLUMNS``, where ``specialised`` is categorical.
        request: AG Grid's request: ``startRow``, ``endRow``, ``sortModel``, ``filterModel``. Unknown columns are
            ignored; a block has at most ``BLOCK`` rows.

    Raises:
        KeyError: a filter of a kind that AG Grid's number and text filters do not have.
    """
    shown = [c["field"] for c in EXPERT_COLUMNS]
    rows = table.reset_index(names="expert")[shown]
    rows["specialised"] = rows["specialised"].cat.rename_categories({GENERAL: "generalist"})
    for name, model in (request.get("filterModel") or {}).items():
        if name in shown:
            rows = rows[_matches(rows[name], model)]
    order = [(s["colId"], s["sort"] == "asc") for s in request.get("sortModel") or [] if s["colId"] in shown]
    start = max(int(request.get("startRow") or 0), 0)
    stop = min(int(request.get("endRow") or start + BLOCK), start + BLOCK)
    if order:
        names, rising = (list(part) for part in zip(*order, strict=True))
        ranked = rows[names].sort_values(names, ascending=rising, kind="stable", na_position="last")
        return rows.loc[ranked.index[start:stop]], len(rows)
    return rows.iloc[start:stop], len(rows)


def response(rows: pd.DataFrame, count: int) -> dict[str, Any]:
    """The answer for AG Grid: rows as JSON types (missing numbers as None) and the total number of rows."""
    return {"rowData": rows.astype(object).where(rows.notna(), None).to_dict("records"), "rowCount": count}
