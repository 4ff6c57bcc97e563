"""Plotly figures. Backgrounds are transparent and text takes the page's colour, so both colour schemes show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..report.charts import FEW_BINS, FLOOR, HEADROOM, histogram_ticks

GENERALIST_FILL = "rgba(128, 134, 144, 0.30)"
FADED_FILL = "rgba(128, 134, 144, 0.14)"
UNSEEN_FILL = "rgba(0, 0, 0, 0)"
MAP_PIXELS = 512  # one screen pixel per expert for the published models' 512 keys
CELL_WIDTH, CELL_HEIGHT = 76, 46
DIVERGING = "PuOr_r"  # purple to orange: safe for the colour-blind
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def _blank(**layout: object) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": "#868e96"},
        showlegend=False,
        **layout,
    )
    return figure


def expert_map(codes: np.ndarray, colours: Mapping[str, str], highlight: str | None = None) -> go.Figure:
    """The experts of a group as one heatmap, one cell per expert; those never active are blank.

    Args:
        codes: (E, E) int16 of ``Context.codes``; row i is the key of set 1, column j that of set 2.
        colours: label -> colour, in the order of the codes.
        highlight: the label to highlight; the others fade.
    """
    fills = [GENERALIST_FILL, *colours.values()]
    if highlight is not None:
        fills = [fill if name == highlight else FADED_FILL for name, fill in zip(["", *colours], fills, strict=True)]
    fills.insert(0, UNSEEN_FILL)
    steps = len(fills)
    scale = [(edge / steps, fill) for n, fill in enumerate(fills) for edge in (n, n + 1)]
    figure = _blank(
        width=MAP_PIXELS + 76,
        height=MAP_PIXELS + 68,
        margin={"l": 62, "r": 14, "t": 10, "b": 58},
        dragmode="zoom",
        hovermode="closest",
    )
    figure.add_trace(
        go.Heatmap(z=codes, zmin=-1.5, zmax=steps - 1.5, colorscale=scale, showscale=False, hoverinfo="none")
    )
    axis = {
        "showgrid": False,
        "zeroline": False,
        "showline": True,
        "mirror": True,
        "linecolor": "#868e96",
        "ticks": "outside",
    }
    edge = [-0.5, codes.shape[0] - 0.5]
    figure.update_xaxes(title="key j of set 2", range=edge, constrain="domain", **axis)
    figure.update_yaxes(title="key i of set 1", range=edge[::-1], constrain="domain", **axis)
    return figure


def histogram(table: pd.DataFrame) -> go.Figure:
    """Distribution of an expert's scores: ``table`` has low, high, count. Bars of one width, log count axis."""
    many = len(table) > FEW_BINS
    figure = _blank(height=270, margin={"l": 54, "r": 20, "t": 16, "b": 44}, bargap=0.06)
    figure.add_trace(
        go.Bar(
            x=np.arange(len(table)) + 0.5,
            y=table["count"].where(table["count"] > 0),
            marker={"color": "#56B4E9", "line": {"width": 0}},
            customdata=table[["low", "high"]].to_numpy(),
            hovertemplate="score %{customdata[0]:.3g} to %{customdata[1]:.3g}: %{y:,} tokens<extra></extra>",
            text=[f"{n:,}" if n else "" for n in table["count"]],
            textposition="outside",
            textangle=-90 if many else 0,
            textfont={"size": 11},
            constraintext="none",
            cliponaxis=False,
        )
    )
    edges = [*table["low"], table["high"].iloc[-1]]
    ticks = histogram_ticks(len(table))
    figure.update_xaxes(
        title="routing score",
        showgrid=False,
        zeroline=False,
        range=[0, len(table)],
        tickvals=list(ticks),
        ticktext=[f"{edges[tick]:.2g}" for tick in ticks],
        tickangle=0,
    )
    figure.update_yaxes(
        title="active tokens (log)",
        type="log",
        range=[np.log10(FLOOR), np.log10(table["count"].max() * HEADROOM * (2 if many else 1))],
        dtick=1,
        gridcolor="rgba(128,134,144,0.25)",
    )
    return figure


GRID = "rgba(128,134,144,0.25)"
CURVES = {  # kind of point -> its name, colour, dash and symbol: never colour alone
    "chosen": ("the label's own experts", "#0072B2", "solid", "circle"),
    "random": ("random control", "#E69F00", "dot", "diamond"),
    "equal": ("activity-matched control", "#009E73", "dash", "square"),
}


def curve(means: pd.DataFrame, budget: float) -> go.Figure:
    """Forget/retain trade-off: ``means`` as ``RemovalCurve.means`` has it; a line at the budget."""
    figure = _blank(height=400, margin={"l": 66, "r": 20, "t": 44, "b": 52})
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
    """Map of experts coloured by label: ``table`` has expert, x, y, specialised and tokens."""
    figure = _blank(height=620, margin={"l": 8, "r": 8, "t": 8, "b": 8}, hovermode="closest")
    for name, fill in {"": GENERALIST_FILL, **colours}.items():
        points = table[table["specialised"] == name]
        figure.add_trace(
            go.Scatter(
                x=points["x"],
                y=points["y"],
                name=f"{name or 'generalist'} ({len(points):,})",
                mode="markers",
                marker={"color": fill, "size": 5},
                customdata=points[["expert", "tokens"]].to_numpy().tolist(),  # Dash drops arrays from clickData
                hovertemplate="expert %{customdata[0]}, active at %{customdata[1]:,} tokens"
                "<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_layout(showlegend=True, legend={"itemsizing": "constant", "y": 1, "x": 1})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure


def matrix(
    rows: Sequence[str],
    columns: Sequence[str],
    values: np.ndarray,
    diverging: bool,
    title: str,
    digits: int,
    axes: tuple[str, str] = ("label removed", "label measured"),
) -> go.Figure:
    """A matrix of labels by labels, with its number in every cell; NaN leaves a cell blank.

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
    width, height = CELL_WIDTH * len(columns) + 250, max(CELL_HEIGHT * len(rows), 200) + 68
    figure = _blank(width=width, height=height, margin={"l": 110, "r": 140, "t": 56, "b": 12})
    figure.add_trace(
        go.Heatmap(
            z=values,
            x=list(columns),
            y=list(rows),
            texttemplate=f"%{{z:.{digits}f}}",
            textfont={"size": 13},
            xgap=2,
            ygap=2,
            colorbar={"title": {"text": title, "side": "right"}, "thickness": 14, "outlinewidth": 0},
            hovertemplate=f"{axes[0]} %{{y}}<br>{axes[1]} %{{x}}<br><b>%{{z:.4f}}</b><extra></extra>",
            **scale,
        )
    )
    figure.update_xaxes(title=axes[1], side="top", showgrid=False, type="category")
    figure.update_yaxes(title=axes[0], autorange="reversed", showgrid=False, type="category")
    return figure
