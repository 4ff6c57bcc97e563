"""Plotly figures. Backgrounds are transparent and text takes the page's colour, so both colour schemes show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..report.charts import FEW_BINS, FLOOR, HEADROOM, histogram_ticks
from ..report.labels import natural_order, plot_labels
from ..report.palette import OTHER_LABELS_COLOUR
from .lattice import GENERALIST_FILL
from .tables import GENERAL

NO_LABEL = "no label"  # of generalists and of experts active at too few tokens
CELL_WIDTH, CELL_HEIGHT = 76, 46
CELL_CHARACTERS = 11  # of a name above a cell
BAR_WIDTH = 140  # of the colours beside a matrix, with their title
GRID = "rgba(128,134,144,0.25)"
DIVERGING = "PuOr_r"  # purple to orange: safe for the colour-blind
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


_LOOK = {
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": FONT, "size": 12, "color": "#868e96"},
    "showlegend": False,
}


def blank(**layout: object) -> go.Figure:
    """A figure without traces, in the page's colours."""
    return go.Figure(layout=go.Layout(template="none", **_LOOK, **layout))


def histogram(table: pd.DataFrame) -> dict[str, Any]:
    """Distribution of an expert's scores: ``table`` has low, high, count. Bars of one width, log count axis.

    A figure as Plotly's JSON: checking its properties one by one would take a tenth of the time of an expert's page.
    """
    many, counts = len(table) > FEW_BINS, table["count"].tolist()
    low, high = table["low"].tolist(), table["high"].tolist()
    bars = {
        "type": "bar",
        "x": [at + 0.5 for at in range(len(counts))],
        "y": [count or None for count in counts],
        "marker": {"color": "#56B4E9", "line": {"width": 0}},
        "customdata": list(map(list, zip(low, high, strict=True))),
        "hovertemplate": "score %{customdata[0]:.3g} to %{customdata[1]:.3g}: %{y:,} tokens<extra></extra>",
        "text": [f"{count:,}" if count else "" for count in counts],
        "textposition": "outside",
        "textangle": -90 if many else 0,
        "textfont": {"size": 11},
        "constraintext": "none",
        "cliponaxis": False,
    }
    edges, ticks = [*low, high[-1]], list(histogram_ticks(len(counts)))
    x_axis = {
        "title": {"text": "routing score"},
        "showgrid": False,
        "zeroline": False,
        "range": [0, len(counts)],
        "tickvals": ticks,
        "ticktext": [f"{edges[tick]:.2g}" for tick in ticks],
        "tickangle": 0,
    }
    y_axis = {
        "title": {"text": "active tokens (log)"},
        "type": "log",
        "range": [log10(FLOOR), log10(max(counts) * HEADROOM * (2 if many else 1))],
        "dtick": 1,
        "gridcolor": GRID,
    }
    margin = {"l": 54, "r": 20, "t": 16, "b": 44}
    layout = _LOOK | {"height": 270, "margin": margin, "bargap": 0.06, "xaxis": x_axis, "yaxis": y_axis}
    return {"data": [bars], "layout": layout}


CURVES = {  # kind of point -> its name, colour, dash and symbol: never colour alone
    "chosen": ("the label's own experts", "#0072B2", "solid", "circle"),
    "random": ("random control", "#E69F00", "dot", "diamond"),
    "equal": ("activity-matched control", "#009E73", "dash", "square"),
}


def curve(means: pd.DataFrame, budget: float) -> go.Figure:
    """Forget/retain trade-off: ``means`` as ``RemovalCurve.means`` has it; a line at the budget."""
    figure = blank(height=400, margin={"l": 66, "r": 20, "t": 44, "b": 52})
    for kind, (name, colour, dash, symbol) in CURVES.items():
        if kind not in means.index.get_level_values("kind"):
            continue
        points = means.loc[kind]
        figure.add_trace(
            go.Scatter(
                x=[0.0, *points["others"]] if kind == "chosen" else points["others"],
                y=[0.0, *points["target"]] if kind == "chosen" else points["target"],
                name=name,
                mode="lines+markers",
                line={"color": colour, "dash": dash},
                marker={"symbol": symbol, "size": 9},
                customdata=[0.0, *points["removed"]] if kind == "chosen" else points["removed"],
                hovertemplate="others %{x:+.4f}, own %{y:+.3f}<br>%{customdata:,.0f} experts"
                "<extra>%{fullData.name}</extra>",
            )
        )
    figure.add_vline(x=budget, line={"color": "#868e96", "width": 1, "dash": "dot"}, annotation_text=f"{budget:g} nats")
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.12, "x": 0})
    figure.update_xaxes(
        title="mean rise in loss of the other labels, nats per token", gridcolor=GRID, zerolinecolor=GRID
    )
    figure.update_yaxes(title="rise in the label's own loss, nats per token", gridcolor=GRID, zerolinecolor=GRID)
    return figure


def plane(table: pd.DataFrame, colours: Mapping[str, str]) -> go.Figure:
    """Map of experts coloured by label: ``table`` has expert, x, y, specialised, confirmed and tokens.

    Labels that share the colour of the others are one trace; the label of each of its points is a hover away.
    """
    figure = plane_frame()
    own = natural_order(label for label, fill in colours.items() if fill != OTHER_LABELS_COLOUR)
    traces = [([GENERAL], NO_LABEL, GENERALIST_FILL)]
    traces += [([label], name, colours[label]) for label, name in zip(own, plot_labels(own), strict=True)]
    if others := [label for label in colours if label not in set(own)]:
        traces.append((others, "other labels", OTHER_LABELS_COLOUR))
    for labels, name, fill in traces:
        points = table[table["specialised"].isin(labels)]
        shown = points["specialised"].astype(str).map(_hover_name)
        figure.add_trace(
            go.Scatter(
                x=points["x"],
                y=points["y"],
                name=f"{name} ({f'{len(points):,}' if labels == [GENERAL] else _confirmed_of(points)})",
                mode="markers",
                marker={"color": fill, "size": 5},
                customdata=[  # Dash drops arrays from clickData
                    list(row) for row in zip(points["expert"].tolist(), points["tokens"].tolist(), shown, strict=True)
                ],
                hovertemplate="expert %{customdata[0]}, active at %{customdata[1]:,} tokens"
                "<extra>%{customdata[2]}</extra>",
            )
        )
    figure.update_layout(showlegend=True, legend={"itemsizing": "constant", "y": 1, "x": 1})
    return figure


def plane_frame() -> go.Figure:
    """The frame of a map of experts, with no points yet."""
    figure = blank(height=620, margin={"l": 8, "r": 8, "t": 8, "b": 8}, hovermode="closest")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure


def _confirmed_of(points: pd.DataFrame) -> str:
    """The confirmed experts, of those that the plain rule calls specialised."""
    return f"{int(points['confirmed'].sum()):,} of {len(points):,} confirmed"


def _hover_name(label: str) -> str:
    return plot_labels([label])[0] if label != GENERAL else NO_LABEL


def matrix(
    rows: Sequence[str],
    columns: Sequence[str],
    values: np.ndarray,
    diverging: bool,
    title: str,
    digits: int,
    axes: tuple[str, str] = ("label removed", "label measured"),
) -> go.Figure:
    """A matrix of labels by labels, with its number in every cell; NaN leaves a cell blank. It is as wide as its place,
    which should be no narrower than ``matrix_width``.

    Args:
        rows: n labels.
        columns: m labels.
        values: (n, m).
        diverging: values around 0 (a change); else values of one sign (a level).
        title: what the colour shows, with its unit.
        digits: decimals in the cells.
        axes: what the rows and the columns are.
    """
    reach = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    scale = {"colorscale": DIVERGING, "zmin": -reach, "zmax": reach} if diverging else {"colorscale": "Cividis"}
    longest, left = _margin(rows, columns)
    top = 56 if longest <= CELL_CHARACTERS else min(7 * longest, 250) + 40  # long names stand upright
    height = max(CELL_HEIGHT * len(rows), 200) + top + 12
    figure = blank(height=height, margin={"l": left, "r": BAR_WIDTH, "t": top, "b": 12})
    figure.add_trace(
        go.Heatmap(
            z=values,
            x=plot_labels(columns),
            y=plot_labels(rows),
            texttemplate=f"%{{z:.{digits}f}}",
            textfont={"size": 13},
            xgap=2,
            ygap=2,
            colorbar={"title": {"text": title, "side": "right"}, "thickness": 14, "outlinewidth": 0},
            hovertemplate=f"{axes[0]} %{{y}}<br>{axes[1]} %{{x}}<br><b>%{{z:.4f}}</b><extra></extra>",
            **scale,
        )
    )
    upright = {"tickangle": -90, "title_standoff": 8} if longest > CELL_CHARACTERS else {}
    figure.update_xaxes(title=axes[1], side="top", showgrid=False, type="category", **upright)
    figure.update_yaxes(
        title={"text": axes[0], "standoff": 12}, autorange="reversed", showgrid=False, type="category", ticks=""
    )
    return figure


def matrix_width(rows: Sequence[str], columns: Sequence[str]) -> int:
    """The pixels that a matrix needs at least for its numbers to be read."""
    return CELL_WIDTH * len(columns) + _margin(rows, columns)[1] + BAR_WIDTH


def _margin(rows: Sequence[str], columns: Sequence[str]) -> tuple[int, int]:
    """Characters of the longest name beside or above a matrix, and the pixels to the left of its cells."""
    longest = max((len(name) for name in plot_labels([*rows, *columns])), default=0)
    return longest, min(max(110, 8 * longest + 46), 300)
