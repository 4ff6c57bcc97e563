"""Plotly figures of a policy: reward against survival, mortality over states, and what one expert adds there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ...report.palette import LABEL_COLOURS, NO_LABEL_COLOUR
from ...store.address import Expert
from ...studies.control.reading_result import CONSTANT, POLICY, RULE
from ..figures import DIVERGING, GRID, blank

MARGIN = 0.05  # of population, around the states that are visited
_MARKS = {POLICY: ("circle", "#D55E00"), RULE: ("diamond", "#0072B2")}


def survival(outcomes: pd.DataFrame, removals: pd.DataFrame) -> go.Figure:
    """Mean reward against the share of episodes that last, with constant mortalities as a curve.

    Args:
        outcomes, removals: of a ``ControlReading``.
    """
    figure = blank(height=420, margin={"l": 60, "r": 20, "t": 20, "b": 100})
    constants = outcomes[outcomes["policy"] == CONSTANT].sort_values("share")
    figure.add_trace(
        go.Scatter(
            x=constants["whole"],
            y=constants["reward"],
            mode="lines+markers+text",
            name="shares of the best constant mortality",
            text=[f"{share:.0%}" for share in constants["share"]],
            textposition="bottom left",
            line={"color": NO_LABEL_COLOUR},
            hovertemplate="%{text} of the best constant mortality<br>whole %{x:.3f}, reward %{y:.2f}<extra></extra>",
        )
    )
    points = [(row.policy, row, *_MARKS[row.policy]) for row in outcomes.itertuples() if row.policy in _MARKS]
    chosen = removals[removals["removed"] == "scarce"]
    points += [("without the experts of a scarce predator", row, "x", "#CC79A7") for row in chosen.itertuples()]
    for name, row, symbol, colour in points:
        figure.add_trace(
            go.Scatter(
                x=[row.whole],
                y=[row.reward],
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": 12, "color": colour},
                error_y=_error(row.reward, row.reward_low, row.reward_high),
                error_x=_error(row.whole, row.whole_low, row.whole_high),
                hovertemplate=f"{name}<br>whole %{{x:.3f}}, reward %{{y:.2f}}<extra></extra>",
            )
        )
    figure.update_xaxes(title="share of episodes that last 200 steps", gridcolor=GRID, range=[-0.03, 1.04])
    figure.update_yaxes(title="mean reward", gridcolor=GRID, rangemode="tozero")
    return figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.22})


def _error(value: float, low: float, high: float) -> dict[str, object]:
    return {"type": "data", "array": [high - value], "arrayminus": [value - low], "thickness": 1}


def strongest_experts(lattice: pd.DataFrame, groups: Mapping[int, int]) -> list[Expert]:
    """The experts that add most at the most visited points of a lattice, by the visits of these points."""
    weight = lattice.groupby(["layer", "expert"])["visits"].sum().sort_values(ascending=False, kind="stable")
    return [Expert(groups[int(layer)], int(expert)) for layer, expert in weight.index]


def expert_colours(experts: Sequence[Expert]) -> dict[Expert, str]:
    """A colour for each of the first experts of a list."""
    return dict(zip(experts, LABEL_COLOURS, strict=False))


def states(lattice: pd.DataFrame, groups: Mapping[int, int], colours: Mapping[Expert, str]) -> go.Figure:
    """A lattice of stock and predator, each state in the colour of the expert that adds most; mortality as contours.

    Args:
        lattice: rows of one species of a ``ControlReading``'s.
        groups: layer -> its group.
        colours: of experts; all others are grey. States that no episode of the run visits are pale.
    """
    known = list(colours)
    experts = [
        Expert(groups[int(layer)], int(expert))
        for layer, expert in zip(lattice["layer"], lattice["expert"], strict=True)
    ]
    number = pd.Series([known.index(one) if one in colours else len(known) for one in experts], lattice.index)
    shades = [*colours.values(), NO_LABEL_COLOUR]
    scale = [[edge / len(shades), shade] for at, shade in enumerate(shades) for edge in (at, at + 1)]
    figure = blank(height=460, margin={"l": 60, "r": 20, "t": 12, "b": 52})
    for visited, opacity in ((False, 0.3), (True, 1.0)):
        here = (lattice["visits"] > 0) == visited
        grid = _grid(lattice, number.where(here))
        texts = _grid(lattice, pd.Series([str(one) for one in experts], lattice.index))
        added = _grid(lattice, lattice["added"])
        figure.add_trace(
            go.Heatmap(
                x=grid.columns,
                y=grid.index,
                z=grid.to_numpy(float),
                zmin=-0.5,
                zmax=len(shades) - 0.5,
                colorscale=scale,
                showscale=False,
                opacity=opacity,
                customdata=np.dstack([texts.to_numpy(), added.to_numpy()]),
                hovertemplate="stock %{x:.2f}, predator %{y:.2f}<br>expert %{customdata[0]} adds %{customdata[1]:+.3f}"
                "<extra></extra>",
            )
        )
    mortality = _grid(lattice, lattice["mortality"].where(lattice["visits"] > 0))
    figure.add_trace(
        go.Contour(
            x=mortality.columns,
            y=mortality.index,
            z=mortality.to_numpy(),
            contours={"coloring": "none", "showlabels": True, "start": 0, "end": 1, "size": 0.1},
            line={"color": "#868e96", "width": 1},
            hoverinfo="skip",
        )
    )
    return _axes(figure, lattice)


def surface(lattice: pd.DataFrame, added: pd.Series) -> go.Figure:
    """What one expert adds to mortality over stock and predator.

    Args:
        lattice: rows of one species of a ``ControlReading``'s.
        added: by the lattice's index; it lacks the states where the expert is not active.
    """
    grid = _grid(lattice, added.reindex(lattice.index))
    reach = float(np.nanmax(np.abs(grid.to_numpy(float)), initial=0.0)) or 1.0
    figure = blank(height=360, margin={"l": 60, "r": 20, "t": 12, "b": 52})
    figure.add_trace(
        go.Heatmap(
            x=grid.columns,
            y=grid.index,
            z=grid.to_numpy(float),
            zmin=-reach,
            zmax=reach,
            colorscale=DIVERGING,
            colorbar={"title": {"text": "added to mortality", "side": "right"}, "thickness": 14, "outlinewidth": 0},
            hovertemplate="stock %{x:.2f}, predator %{y:.2f}: %{z:+.4f}<extra></extra>",
        )
    )
    return _axes(figure, lattice)


def _grid(lattice: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """(predator, stock) of a column."""
    return lattice.assign(shown=values).pivot(index="predator", columns="stock", values="shown")


def _axes(figure: go.Figure, lattice: pd.DataFrame) -> go.Figure:
    """Axes over the visited part of a lattice."""
    species = lattice["species"].iloc[0]
    seen = lattice[lattice["visits"] > 0]
    (left, right), (low, high) = (
        (seen[name].min() - MARGIN, seen[name].max() + MARGIN) if len(seen) else (None, None)
        for name in ("stock", "predator")
    )
    figure.update_xaxes(title=f"population of {species}", showgrid=False, zeroline=False, range=[left, right])
    figure.update_yaxes(title="population of the predator Z", showgrid=False, zeroline=False, range=[low, high])
    return figure
