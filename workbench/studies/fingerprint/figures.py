"""Plotly figures of located and erased fingerprints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...analysis.removal.curve_result import ACTIVITY_MATCHED, RANDOM
from ...report.palette import NO_LABEL_COLOUR
from .erase_result import CHANGED, EXPERTS, LOCATED, ORDERS, UNUSED

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from .erase_result import EraseResult
    from .locate_result import LocateResult

GRID = "rgba(128,134,144,0.25)"
# Colour, mark and dash of each order: none is told by its colour alone.
_LOOKS = {
    LOCATED: ("#D55E00", "circle", "solid"),
    RANDOM: (NO_LABEL_COLOUR, "square", "dot"),
    ACTIVITY_MATCHED: ("#0072B2", "diamond", "dash"),
    UNUSED: ("#009E73", "triangle-up", "dashdot"),
    CHANGED: ("#CC79A7", "x", "longdash"),
}


def price_figure(result: EraseResult, units: str = EXPERTS) -> go.Figure:
    """Fingerprints that are left against the rise in held-out loss, one line per order of removal.

    Success is that of the keys that had no part in choosing; bars are 95 % CIs, of ``EraseResult.curve``.

    Args:
        result: of ``erase_fingerprints``.
        units: ``experts`` or ``neurons``.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.studies.fingerprint import price_figure, read_erased
        >>> erased = read_erased(open_run("runs/demo"))  # None before `monet fingerprint erase` has been run
        >>> erased is None or len(price_figure(erased).data) > 0
        True
    """
    figure = _blank()
    for order, rows in result.curve(units).groupby("order", sort=False):
        bars = {
            "error_x": _bars(rows, "rise", "low", "high"),
            "error_y": _bars(rows, "others", "others_low", "others_high"),
        }
        figure.add_trace(_line(rows, str(order), rows["rise"], bars))
    figure.update_xaxes(title="rise in held-out loss, nats per token", gridcolor=GRID, zerolinecolor=GRID)
    return _success(figure)


def count_figure(result: EraseResult, units: str = EXPERTS) -> go.Figure:
    """Fingerprints that are left against the number of units removed, one line per order of removal.

    Args:
        result: of ``erase_fingerprints``.
        units: ``experts`` or ``neurons``.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.studies.fingerprint import count_figure, read_erased
        >>> erased = read_erased(open_run("runs/demo"))  # None before `monet fingerprint erase` has been run
        >>> erased is None or len(count_figure(erased).data) > 0
        True
    """
    figure, removed = _blank(), result.curve(units).query("removed > 0")
    for order, rows in removed.groupby("order", sort=False):
        bars = {"error_y": _bars(rows, "others", "others_low", "others_high")}
        figure.add_trace(_line(rows, str(order), rows["removed"], bars))
    figure.update_xaxes(title=f"{units} removed", type="log", dtick=1, gridcolor=GRID)
    return _success(figure)


def holders_figure(result: LocateResult) -> go.Figure:
    """How the experts of largest difference hold the rise: the share that so many of them have, all keys together.

    Args:
        result: of ``locate_fingerprints``.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.studies.fingerprint import holders_figure, read_located
        >>> located = read_located(open_run("runs/demo"))  # None before `monet fingerprint locate` has been run
        >>> located is None or len(holders_figure(located).data) > 0
        True
    """
    import numpy as np
    import plotly.graph_objects as go

    positive = result.experts["difference"].to_numpy()
    held = np.cumsum(positive[positive > 0])
    share = held / held[-1] if len(held) else held
    count = np.arange(1, len(held) + 1)
    # A line of a hundred thousand points looks the same as one of some hundred, evenly spaced on the axis.
    shown = np.unique(np.geomspace(1, len(held), 300).astype(np.int64)) - 1 if len(held) else np.zeros(0, np.int64)
    figure = _blank()
    figure.add_trace(
        go.Scatter(
            x=count[shown],
            y=share[shown],
            mode="lines",
            line={"color": _LOOKS[LOCATED][0]},
            hovertemplate="%{x:,} experts hold %{y:.1%}<extra></extra>",
        )
    )
    for part, holders in ((0.5, result.half), (0.9, result.most)):
        if holders:
            figure.add_trace(
                go.Scatter(
                    x=[holders],
                    y=[part],
                    mode="markers+text",
                    text=[f"{part:.0%}: {holders:,}"],
                    textposition="middle left",
                    marker={"color": _LOOKS[LOCATED][0], "size": 10},
                    hoverinfo="skip",
                )
            )
    figure.update_xaxes(title="experts, by falling mean difference", type="log", dtick=1, gridcolor=GRID)
    figure.update_yaxes(title="share of the rise", tickformat=".0%", range=[0, 1.04], gridcolor=GRID)
    return figure.update_layout(showlegend=False)


def _blank() -> go.Figure:
    """A figure that both colour schemes of a page show."""
    import plotly.graph_objects as go

    clear = "rgba(0,0,0,0)"
    look = {"paper_bgcolor": clear, "plot_bgcolor": clear, "font": {"color": "#868e96"}, "height": 420}
    return go.Figure(layout=go.Layout(template="none", margin={"l": 60, "r": 20, "t": 20, "b": 60}, **look))


def _line(rows: pd.DataFrame, order: str, x: pd.Series, bars: dict[str, Any]) -> go.Scatter:
    import plotly.graph_objects as go

    colour, symbol, dash = _LOOKS[order]
    return go.Scatter(
        x=x,
        y=rows["others"],
        name=ORDERS[order],
        mode="lines+markers",
        line={"color": colour, "dash": dash},
        marker={"color": colour, "symbol": symbol, "size": 8},
        customdata=rows[["removed", "share", "rise"]].to_numpy(),
        hovertemplate=f"{ORDERS[order]}<br>%{{customdata[0]:,.0f}} removed (%{{customdata[1]:.3%}})<br>success "
        "%{y:.1%}, loss %{customdata[2]:+.4f}<extra></extra>",
        **{name: bar | {"color": colour} for name, bar in bars.items()},
    )


def _bars(rows: pd.DataFrame, middle: str, low: str, high: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (rows[high] - rows[middle]).to_numpy(),
        "arrayminus": (rows[middle] - rows[low]).to_numpy(),
        "thickness": 1,
        "width": 2,
    }


def _success(figure: go.Figure) -> go.Figure:
    figure.update_yaxes(title="success on the other keys", tickformat=".0%", range=[-0.03, 1.05], gridcolor=GRID)
    return figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.22})
