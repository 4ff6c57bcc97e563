"""Plotly figures about fingerprints: how few experts hold them, and what is left as experts are removed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ...analysis.removal.curve_result import ACTIVITY_MATCHED, RANDOM
from ...studies.fingerprint import LocateResult
from ...studies.fingerprint.erase_result import CHANGED, LOCATED, ORDERS, UNUSED
from ..figures import GRID, blank

POINTS = 400  # of the curve of concentration
LOOKS = {  # order -> colour, dash and symbol: never colour alone
    LOCATED: ("#0072B2", "solid", "circle"),
    RANDOM: ("#E69F00", "dot", "diamond"),
    ACTIVITY_MATCHED: ("#009E73", "dash", "square"),
    UNUSED: ("#CC79A7", "dashdot", "x"),
    CHANGED: ("#D55E00", "longdash", "triangle-up"),
}


def concentration(found: LocateResult) -> go.Figure:
    """Share of the rise of the mean difference that the first experts hold, in order of their difference."""
    rises = np.sort(found.experts["difference"].clip(lower=0).to_numpy())[::-1]
    held = rises.cumsum() / (rises.sum() or 1.0)
    at = np.unique(np.geomspace(1, max(len(held), 1), POINTS).astype(int))[: len(held)]
    figure = blank(height=300, margin={"l": 60, "r": 20, "t": 12, "b": 52})
    figure.add_trace(
        go.Scatter(
            x=at,
            y=held[at - 1],
            mode="lines",
            line={"color": "#0072B2"},
            hovertemplate="%{x:,} experts hold %{y:.1%}<extra></extra>",
        )
    )
    figure.update_xaxes(title="experts, largest difference first", type="log", gridcolor=GRID)
    figure.update_yaxes(title="share of the rise", gridcolor=GRID, tickformat=".0%", range=[0, 1.03])
    return figure


def success_by_share(curve: pd.DataFrame) -> go.Figure:
    """Success of the keys that chose nothing against the share removed: ``curve`` of ``EraseResult``."""
    figure = _left(curve[curve["removed"] > 0], "share", "%{x:.3%} removed")
    return figure.update_xaxes(title="share removed", type="log", tickformat="~%", gridcolor=GRID)


def success_by_price(curve: pd.DataFrame) -> go.Figure:
    """Success of the keys that chose nothing against the rise in held-out loss."""
    figure = _left(curve, "rise", "%{x:+.4f} nats per token")
    return figure.update_xaxes(title="rise in held-out loss, nats per token", gridcolor=GRID, zerolinecolor=GRID)


def _left(curve: pd.DataFrame, x: str, told: str) -> go.Figure:
    figure = blank(height=380, margin={"l": 60, "r": 20, "t": 12, "b": 120})
    for order, (colour, dash, symbol) in LOOKS.items():
        points = curve[curve["order"] == order]
        if points.empty:
            continue
        figure.add_trace(
            go.Scatter(
                x=points[x],
                y=points["others"],
                name=ORDERS[order],
                mode="lines+markers",
                line={"color": colour, "dash": dash},
                marker={"symbol": symbol, "size": 8},
                error_y={
                    "type": "data",
                    "array": points["others_high"] - points["others"],
                    "arrayminus": points["others"] - points["others_low"],
                    "thickness": 1,
                },
                customdata=points["removed"],
                hovertemplate=f"{told}, %{{customdata:,}} of them<br>%{{y:.1%}} left<extra>%{{fullData.name}}</extra>",
            )
        )
    figure.update_yaxes(title="fingerprints left", gridcolor=GRID, tickformat=".0%", range=[-0.03, 1.05])
    return figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.28})
