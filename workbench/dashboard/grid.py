"""The grid of experts: the browser asks for blocks of rows; the server filters, sorts and slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_ag_grid as dag
import numpy as np
import pandas as pd

from ..report.glossary import GLOSSARY
from ..report.palette import OTHER_LABELS_COLOUR, highlight_colour
from ..store.token_text import visible_label
from .context import Context
from .links import expert_template
from .tables import TOO_LITTLE

BLOCK = 100
ROW_HEIGHT = 46  # of two lines
_NUMBER = {"filter": "agNumberColumnFilter", "type": "rightAligned"}

_TEXT: dict[str, Any] = {
    "filter": "agTextColumnFilter",
    "filterParams": {
        "buttons": ["reset"],
        "filterOptions": ["equals", "notEqual", "contains", "notContains", "startsWith", "endsWith"],
        "maxNumConditions": 2,
    },
}
MOST_LABELS = 10  # listed together
_LABELS = _TEXT | {"filterParams": {**_TEXT["filterParams"], "maxNumConditions": MOST_LABELS}}


def _decimals(places: int) -> dict[str, Any]:
    return {"valueFormatter": {"function": f"params.value == null ? '–' : d3.format(',.{places}f')(params.value)"}}


_COUNT = {"valueFormatter": {"function": "params.value == null ? '–' : d3.format(',d')(params.value)"}}
_SCORE = {"valueFormatter": {"function": "scoreText(params.value)"}}
_PERCENT = {"valueFormatter": {"function": "params.value == null ? '–' : d3.format('.2~p')(params.value)"}}


def _means(term: str, more: str = "") -> dict[str, str]:
    return {"headerTooltip": f"{GLOSSARY[term]} {more}".strip()}


TOP_TOKENS = {
    "field": "preview",
    "headerName": "top tokens",
    "filter": False,
    "sortable": False,
    "minWidth": 130,
    "flex": 2,
    "cellRenderer": "TwoLines",
    "cellClass": "token-preview",
    "tooltipField": "preview",
    "headerTooltip": "The different tokens of highest score.",
}
EXPLANATION = {
    "field": "explanation",
    "headerName": "explanation",
    "filter": False,
    "sortable": False,
    "minWidth": 220,
    "flex": 4,
    "cellRenderer": "Explanation",
    "tooltipField": "explanation",
} | _means("explanation")
EXPERT_COLUMNS: tuple[dict[str, Any], ...] = (
    {"field": "expert", "headerName": "expert", "cellRenderer": "ExpertLink", "minWidth": 84, **_NUMBER},
    EXPLANATION,
    TOP_TOKENS,
    {"field": "specialised", "headerName": "label", "cellRenderer": "LabelSwatch", "minWidth": 104, **_LABELS}
    | _means("specialised"),
    {"field": "interest", "headerName": "interest", "minWidth": 108, **_NUMBER, **_decimals(2)} | _means("interest"),
    {"field": "density", "headerName": "density", "minWidth": 90, **_NUMBER, **_PERCENT}
    | _means("density", "Filter it as a fraction: 0.01 is 1 %."),
    {"field": "token_entropy", "headerName": "token entropy", "minWidth": 90, **_NUMBER, **_decimals(2)}
    | _means("token entropy"),
    {"field": "max", "headerName": "max", "minWidth": 76, **_NUMBER, **_SCORE}
    | {"headerTooltip": "Highest routing score."},
    {"field": "confirmed", "headerName": "confirmed", "minWidth": 110, **_TEXT} | _means("confirmed"),
    {"field": "monosemanticity", "headerName": "label selectivity", "minWidth": 110, **_NUMBER, **_decimals(3)}
    | _means("label selectivity"),
    {"field": "mass", "headerName": "mass", "minWidth": 86, **_NUMBER, **_SCORE} | _means("mass"),
    {"field": "tokens", "headerName": "tokens", "minWidth": 92, **_NUMBER, **_COUNT}
    | {"headerTooltip": "Tokens at which the expert is active."},
)
SPARE = ("tokens", "mass")  # columns that narrow windows do without: density and interest tell much of what they do
BOXES = {
    "headerName": "✓",
    "headerTooltip": "Choose experts",
    "width": 36,
    "minWidth": 36,
    "maxWidth": 36,
}  # the column that chooses rows
STORED = tuple(c["field"] for c in EXPERT_COLUMNS if c not in (TOP_TOKENS, EXPLANATION))  # by which rows are chosen


def expert_grid(
    grid_id: str,
    group: int,
    ctx: Context,
    hidden: tuple[str, ...] = (),
    chosen: str | None = None,
    sort: tuple[str, str] = ("interest", "desc"),
    opened: int = -1,
    extra: dict[str, Any] | None = None,
) -> dag.AgGrid:
    """An infinite-scroll grid of a group's experts; rows come from a callback on ``getRowsRequest``.

    Args:
        grid_id: component id.
        group: the group whose experts are linked.
        ctx: the run, for the labels.
        hidden: fields of columns to leave out.
        chosen: a label that has a colour of its own whatever its size.
        sort: field and direction of the first order.
        opened: number of the row that was opened last, which is scrolled to and marked; -1 for none.
        extra: more of what scripts in the browser read from the grid's context.
    """
    return dag.AgGrid(
        id=grid_id,
        columnDefs=[
            c | ({"sort": sort[1]} if c["field"] == sort[0] else {}) for c in EXPERT_COLUMNS if c["field"] not in hidden
        ],
        defaultColDef={
            "sortable": True,
            "resizable": True,
            "flex": 1,
            "minWidth": 80,
            "wrapHeaderText": True,
            "autoHeaderHeight": True,
            "filterParams": {"buttons": ["reset"], "maxNumConditions": 2},
        },
        rowModelType="infinite",
        getRowId="'' + params.data.expert",  # by which the chosen stay chosen when rows are fetched anew
        **({"scrollTo": {"rowIndex": opened, "rowPosition": "middle"}} if opened >= 0 else {}),
        dashGridOptions={
            "theme": {"function": "monetTheme(themeQuartz)"},
            "cacheBlockSize": BLOCK,
            "rowHeight": ROW_HEIGHT,
            "maxBlocksInCache": 20,
            "infiniteInitialRowCount": max(opened + 1, 1),
            "rowClassRules": {"opened-row": "params.node.rowIndex === params.context.opened"},
            "context": {"address": expert_template(group), "opened": opened}
            | label_context(ctx, chosen)
            | (extra or {}),
            "tooltipShowDelay": 300,
            "enableCellTextSelection": True,
            "animateRows": False,
            "rowSelection": {"mode": "multiRow", "headerCheckbox": False},  # the browser has no more than some blocks
            "selectionColumnDef": BOXES,
        },
        eventListeners={"cellKeyDown": ["openExpert(params)"]},
        className="expert-grid",
        style={"height": "100%", "width": "100%"},
    )


def label_context(ctx: Context, chosen: str | None = None) -> dict[str, Any]:
    """What the script needs to show labels in cells: their colours, one for the others, and the names of odd ones."""
    own = {label: ctx.colours[label] for label in ctx.coloured}
    own |= {} if chosen is None else {chosen: highlight_colour(ctx.colour(chosen))}
    odd = {label: shown for label in ctx.labels if (shown := visible_label(label)) != label}
    return {
        "colours": own,
        "other": OTHER_LABELS_COLOUR,
        "without": [ctx.kind_name(kind) for kind in (ctx.without_label, TOO_LITTLE)],
        "names": odd,
    }


def label_grid(ctx: Context, columns: Sequence[tuple[str, str]], rows: list[dict[str, Any]]) -> dag.AgGrid:
    """A grid of all labels, of which the browser draws those in sight.

    Args:
        ctx: the run.
        columns: field and heading of the numbers.
        rows: ``label``, its ``link``, and the numbers of each label.
    """
    label = {"field": "label", "headerName": "label", "cellRenderer": "LabelLink", "minWidth": 160, "flex": 2}
    return dag.AgGrid(
        id="labels-grid",
        columnDefs=[
            label | {"filter": "agTextColumnFilter", "comparator": {"function": "naturalOrder"}},
            *({"field": field, "headerName": name, **_NUMBER, **_COUNT} for field, name in columns),
        ],
        defaultColDef={"sortable": True, "resizable": True, "flex": 1, "minWidth": 84},
        rowData=rows,
        dashGridOptions={
            "theme": {"function": "monetTheme(themeQuartz)"},
            "context": label_context(ctx),
            "tooltipShowDelay": 300,
            "enableCellTextSelection": True,
            "animateRows": False,
        },
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
    names, asked = column.cat.categories, str(model.get("filter") or "")
    value = asked.lower()
    text, exact = names.to_series().str.lower(), asked in names
    tests = {
        "equals": lambda: names == asked if exact else text == value,  # of labels that differ in case, the one meant
        "notEqual": lambda: names != asked if exact else text != value,
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


def passing(table: pd.DataFrame, filters: dict[str, Any]) -> np.ndarray:
    """(rows,) whether each passes the filters; unknown columns are ignored.

    Args:
        table: as ``Context.listed`` has it.
        filters: AG Grid's filter model: field -> condition.

    Raises:
        KeyError: a filter of a kind that AG Grid's number and text filters do not have.
    """
    passed = np.ones(len(table), bool)
    for name, model in filters.items():
        if name in STORED:
            passed &= _matches(table[name], model)
    return passed


def _key(column: pd.Series, rising: bool) -> np.ndarray:
    """Numbers that sort as the column does, missing ones last either way."""
    values = column.cat.codes if isinstance(column.dtype, pd.CategoricalDtype) else column
    numbers = values.to_numpy(np.float64)
    return numbers if rising else -numbers


def select(table: pd.DataFrame, request: dict[str, Any]) -> tuple[pd.DataFrame, int]:
    """The block of rows that a grid asks for, and how many rows pass its filter.

    Args:
        table: as ``Context.listed`` has it.
        request: AG Grid's request: ``startRow``, ``endRow``, ``sortModel``, ``filterModel``. Unknown columns are
            ignored; a block has at most ``BLOCK`` rows.

    Raises:
        KeyError: a filter of a kind that AG Grid's number and text filters do not have.
    """
    at = np.flatnonzero(passing(table, request.get("filterModel") or {}))
    order = [(s["colId"], s["sort"] == "asc") for s in request.get("sortModel") or [] if s["colId"] in STORED]
    start = max(int(request.get("startRow") or 0), 0)
    stop = min(int(request.get("endRow") or start + BLOCK), start + BLOCK)
    if order:
        at = at[np.lexsort([_key(table[name], rising)[at] for name, rising in reversed(order)])]
    return table.iloc[at[start:stop]], len(at)


def response(rows: pd.DataFrame, count: int) -> dict[str, Any]:
    """The answer for AG Grid: rows as JSON types (missing numbers as None) and the total number of rows."""
    return {"rowData": rows.astype(object).where(rows.notna(), None).to_dict("records"), "rowCount": count}
