"""The list of a group's experts: readable ones first, histograms to brush, a grid, and all of it in the address."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from dash import ClientsideFunction, Dash, Input, Output, State

from ..analysis import READABLE_SCORE, READABLE_TOKENS
from ..errors import BadInputError
from ..report.labels import shortened
from ..store.token_text import visible_label, visible_prose
from . import grid
from .brush import Axis, Brush, distribution
from .context import Context
from .elements import Widget, dcc, dmc, html
from .gather import gather_bar
from .links import Address
from .parts import LONGEST_NAME, aria, term
from .tables import TOO_LITTLE

FIRST = ("interest", "desc")
CHARTS = {  # the distributions of a list, by field
    "density": Axis("density", log=True),
    "max": Axis("highest score", log=True),
    "monosemanticity": Axis("label selectivity"),
    "token_entropy": Axis("token entropy, nats"),
}
Filters = dict[str, Any]
RULES: Filters = {  # field -> filter: together they make an expert readable
    "tokens": {"filterType": "number", "type": "greaterThanOrEqual", "filter": READABLE_TOKENS},
    "max": {"filterType": "number", "type": "greaterThanOrEqual", "filter": READABLE_SCORE},
    "confirmed": {"filterType": "text", "type": "equals", "filter": "yes"},
}
WORDS = {
    "tokens": f"active at {READABLE_TOKENS} tokens or more",
    "max": f"highest score {READABLE_SCORE:g} or more",
    "confirmed": "confirmed",
}


def expert_list(
    ctx: Context,
    grid_id: str,
    group: int,
    address: Address,
    *,
    label: str | None = None,
    highlight: str | None = None,
    tall: bool = False,
) -> list[Any]:
    """Switches, histograms and grid; callbacks are those of ``register_list`` for the same ``grid_id``.

    A sentence instead where no expert of the group is specialised in ``label``.

    Args:
        ctx: the run.
        grid_id: id of the grid, from which the other ids are derived.
        group: number of the layer group.
        address: the page's, which may hold ``filter``, ``sort`` and ``row`` as the browser wrote them.
        label: list the experts specialised in this label only.
        highlight: filter by this label at first, if any expert of the group is specialised in it.
        tall: as high as the window.

    Raises:
        BadInputError: the address holds a filter or an order that grids do not have.
    """
    rules = {name: rule for name, rule in RULES.items() if ctx.tested or name != "confirmed"}
    table = _rows(ctx, group, label)
    named = label or highlight
    if label is not None and table.empty:
        return [html.P(_none_specialised(group, label), className="note")]
    unlisted = highlight is not None and not bool((table["specialised"] == highlight).any())
    of_label: Filters = {}
    if highlight is not None and not unlisted:
        of_label = {"specialised": {"filterType": "text", "type": "equals", "filter": highlight}}
    some = ctx.of_group(
        group, ("some", label, highlight, *rules), lambda: bool(grid.passing(table, rules | of_label).any())
    )
    first = of_label | (rules if some else {})
    filters, sort = _filters(address, table, first), _sort(address)
    row = address.query.get("row", "")
    hidden: tuple[str, ...] = () if ctx.analysed else ("specialised", "monosemanticity", "confirmed")
    hidden += () if ctx.explained(group) else ("explanation",)
    drawn = grid.expert_grid(
        grid_id,
        group,
        ctx,
        hidden=hidden + (() if label is None else ("specialised",)),
        chosen=named,
        sort=sort,
        opened=int(row) if row.isdecimal() and len(row) < 8 else -1,
    )
    drawn.filterModel = filters
    *charts, counted = ctx.of_group(
        group, ("charts", label, json.dumps(filters, sort_keys=True)), lambda: _distributions(table, filters)
    )
    set_rules = [name for name, rule in rules.items() if filters.get(name) == rule]
    return [
        html.Div(
            [
                dmc.Switch(
                    id=f"{grid_id}-readable",
                    label="Readable only",
                    checked=len(set_rules) == len(rules),
                    size="sm",
                ),
                dmc.ChipGroup(
                    id=f"{grid_id}-rules",
                    multiple=True,
                    value=set_rules,
                    children=[dmc.Chip(WORDS[name], value=name, size="xs") for name in rules],
                ),
                _labels(ctx, grid_id, filters, offered=ctx.analysed and label is None),
                dmc.Box(counted, id=f"{grid_id}-count", className="expert-count", **aria(live="polite")),
            ],
            className="readable-bar",
            role="group",
            **aria(label="which experts are listed"),
        ),
        html.P([*_none_specialised(group, highlight), " Those of every label are listed."], className="note")
        if highlight is not None and unlisted
        else None,
        None if some else html.P(_none_readable(ctx, group, None if unlisted else named), className="note"),
        html.Div(
            [
                Brush(id=f"{grid_id}-{name}", grid=grid_id, field=name, chart=chart)
                for name, chart in zip(CHARTS, charts, strict=True)
            ],
            className="brushes",
            role="group",
            **aria(label="Distributions of all experts and of those that pass the filters."),
        ),
        html.Div(
            drawn,
            className="grid-box tall" if tall else "grid-box",
            role="region",
            **aria(label=f"Grid of the experts of group {group}"),
        ),
        gather_bar("Choose experts with their boxes, or the one in hand with the space bar, to keep them in a list."),
        dcc.Store(
            id=f"{grid_id}-choice",
            data={
                "group": group,
                "label": label,
                "rules": rules,
                "first": first,
                "sort": "-".join(FIRST),
                "spare": grid.SPARE,
            },
        ),
    ]


def _labels(ctx: Context, grid_id: str, filters: Filters, offered: bool) -> Widget:
    """The choice of the labels that are listed: another face of the filter of their column."""
    names = [*ctx.labels, *(ctx.kind_name(kind) for kind in (ctx.without_label, TOO_LITTLE))] if offered else []
    shown = [(name, visible_label(name)) for name in names]
    choice = dmc.MultiSelect(
        id=f"{grid_id}-labels",
        data=[name if name == text else {"value": name, "label": text} for name, text in shown],
        value=chosen_labels(filters.get("specialised")) if offered else [],
        placeholder="labels",
        searchable=True,
        clearable=True,
        maxValues=grid.MOST_LABELS,
        nothingFoundMessage="No such label.",
        size="xs",
        className="list-labels",
        **aria(label=f"Labels listed, {grid.MOST_LABELS} at most"),
    )
    return dmc.Box(choice, display="block" if offered else "none")


def chosen_labels(model: dict[str, Any] | None) -> list[str]:
    """The labels that a filter of their column asks for; none where it is another filter, or there is none."""
    conditions = model.get("conditions", [model]) if model else []
    joined = model is not None and (len(conditions) < 2 or model.get("operator") == "OR")
    names = [str(one.get("filter")) for one in conditions if one.get("type") == "equals"]
    return names if joined and len(names) == len(conditions) else []


def meaning() -> list[Any]:
    """What the order and the switch of a list mean, for the note above it."""
    return ["Sorted by ", term("interest"), ", ", term("readable"), " experts only unless switched off. "]


def _none_specialised(group: int, label: str) -> list[Any]:
    name = shortened(visible_label(label), LONGEST_NAME)
    return [f"No expert of group {group} is ", term("specialised"), f" in {name}."]


def _none_readable(ctx: Context, group: int, label: str | None) -> list[Any]:
    where = f"of group {group}" if label is None else f"of this label in group {group}"
    if ctx.analysed:
        return [f"No expert {where} is ", term("readable"), ", so all are listed, by ", term("interest"), "."]
    return [f"No expert {where} is active enough to be ", term("readable"), ", so all are listed."]


def _rows(ctx: Context, group: int, label: str | None) -> pd.DataFrame:
    table = ctx.listed(group)
    return table if label is None else table[table["specialised"] == label]


def _filters(address: Address, table: pd.DataFrame, first: Filters) -> Filters:
    asked = address.query.get("filter")
    if asked is None:
        return first
    try:
        filters = json.loads(asked)
        if not set(filters) <= set(grid.STORED):
            raise KeyError(*set(filters) - set(grid.STORED))
        grid.passing(table.head(0), filters)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInputError("the filter in this address cannot be read; leave out its part after filter=.") from error
    return dict(filters)


def _sort(address: Address) -> tuple[str, str]:
    asked = address.query.get("sort", "-".join(FIRST))
    field, _, direction = asked.rpartition("-")
    if asked != "none" and (field not in grid.STORED or direction not in ("asc", "desc")):
        raise BadInputError(f"there is no order {asked!r}; it is a column and a direction, such as mass-desc.")
    return field, direction


def _brushed(model: Any) -> tuple[float | None, float | None] | None:
    """The bounds that a filter of one condition sets; None for other filters."""
    if not isinstance(model, dict) or "type" not in model:
        return None
    low, high = model.get("filter"), model.get("filterTo")
    bounds = {
        "inRange": (low, high),
        "greaterThan": (low, None),
        "greaterThanOrEqual": (low, None),
        "lessThan": (None, low),
        "lessThanOrEqual": (None, low),
    }
    return bounds.get(model["type"])


def _distributions(table: pd.DataFrame, filters: Filters) -> tuple[Any, ...]:
    """The charts of a list as it is filtered, and its number of experts as text."""
    passed = grid.passing(table, filters)
    charts = [
        distribution(table[name].to_numpy(np.float64), passed, axis, _brushed(filters.get(name)))
        for name, axis in CHARTS.items()
    ]
    return *charts, f"{int(passed.sum()):,} of {len(table):,} experts"


def answer_rows(ctx: Context, group: int, label: str | None, request: dict[str, Any]) -> dict[str, Any]:
    """The rows that a list's grid asks for, with top tokens and explanations as they are shown.

    Args:
        ctx: the run.
        group: number of the layer group.
        label: only the experts specialised in it; None for all.
        request: AG Grid's request: see ``grid.select``.

    Raises:
        KeyError: as ``grid.select``.
    """
    block, count = grid.select(_rows(ctx, group, label), request)
    ids = block["expert"].tolist()
    explained = ctx.explained(group, ids)
    block = block.assign(
        preview=ctx.previews(group, ids),
        explanation=[visible_prose(explained.get(expert, "")) for expert in ids],
    )
    return grid.response(block, count)


def register_list(app: Dash, ctx: Context, grid_id: str) -> None:
    """The list's rows and histograms; what switches, brushes and address share runs in the browser."""

    @app.callback(
        Output(grid_id, "getRowsResponse"),
        Input(grid_id, "getRowsRequest"),
        State(f"{grid_id}-choice", "data"),
        prevent_initial_call=True,  # before the grid asks, the rows would be any: a reader saw them until its own came
    )
    def rows(request: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
        return answer_rows(ctx, choice["group"], choice["label"], request)

    @app.callback(
        *(Output(f"{grid_id}-{name}", "chart") for name in CHARTS),
        Output(f"{grid_id}-count", "children"),
        Input(grid_id, "filterModel"),
        State(f"{grid_id}-choice", "data"),
        prevent_initial_call=True,
    )
    def distributions(filters: Filters | None, choice: dict[str, Any]) -> tuple[Any, ...]:
        return _distributions(_rows(ctx, choice["group"], choice["label"]), filters or {})

    app.clientside_callback(
        ClientsideFunction("experts", "filters"),
        Output(grid_id, "filterModel"),
        Output(f"{grid_id}-readable", "checked"),
        Output(f"{grid_id}-rules", "value"),
        Output(f"{grid_id}-labels", "value"),
        Input(f"{grid_id}-readable", "checked"),
        Input(f"{grid_id}-rules", "value"),
        Input(f"{grid_id}-labels", "value"),
        Input(grid_id, "filterModel"),
        State(f"{grid_id}-choice", "data"),
        State(grid_id, "id"),
    )
    app.clientside_callback(
        ClientsideFunction("experts", "remember"),
        Input(grid_id, "getRowsRequest"),
        State(f"{grid_id}-choice", "data"),
        State(grid_id, "id"),
    )
    app.clientside_callback(
        ClientsideFunction("gather", "rows"),
        Input(grid_id, "selectedRows"),
        State(f"{grid_id}-choice", "data"),
        prevent_initial_call=True,
    )
