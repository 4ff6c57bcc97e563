"""Geometry of a circuit's chart: tokens along x, layers along y from the embeddings up, in units of the chart."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from ..analysis.circuits.circuit_result import Circuit

NODES, EDGES = 150, 200  # drawn, at most
STEP = 22  # from one node to the next in a cell
SMALLEST, LARGEST = 3.0, 9.0  # radius of a node
ABREAST = 4  # nodes of a cell side by side
LEFT, TOP, FOOT = 74, 12, 30  # margins: names of layers, above, names of tokens
TEXT = 7.2  # width of a letter
CHARACTERS = 12  # of a token's name
FAINTEST = 0.15  # opacity of an edge


@dataclass(frozen=True)
class Mark:
    """A node's place and radius."""

    node: int
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Line:
    """An edge's ends, sign and opacity."""

    x1: float
    y1: float
    x2: float
    y2: float
    raises: bool
    opacity: float


@dataclass(frozen=True)
class Chart:
    """A circuit drawn.

    Attributes:
        width, height: of the chart.
        columns: middle and name of each column: its token, or ``all`` for biases, which act at every position.
        rows: middle and name of each row.
        marks: the nodes of most influence.
        lines: value edges of most weight between them.
    """

    width: float
    height: float
    columns: list[tuple[float, str]]
    rows: list[tuple[float, str]]
    marks: list[Mark]
    lines: list[Line]


def circuit_chart(circuit: Circuit, tokens: list[str]) -> Chart:
    """Place a circuit's nodes and edges.

    Args:
        circuit: the circuit.
        tokens: text of each token as it is shown, which a column is wide enough for.
    """
    nodes = circuit.nodes
    kept = nodes.assign(first=nodes["kind"].isin(["embed", "logit"])).sort_values(
        ["first", "influence"], ascending=False, kind="stable"
    )
    cells: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in kept.head(max(NODES, int(kept["first"].sum()))).itertuples():
        floor = {"embed": 0, "logit": circuit.layers + 1}.get(row.kind, row.layer + 1)
        cells[int(row.position), floor].append(int(row.node))
    places = sorted({column for column, _ in cells} | set(range(len(circuit.ids))))
    columns, right = {}, float(LEFT)
    for position in places:
        widest = max((min(len(held), ABREAST) for (column, _), held in cells.items() if column == position), default=1)
        name = "all" if position < 0 else _short(tokens[position])
        width = max(widest * STEP, len(name) * TEXT) + 14
        columns[position] = right + width / 2
        right += width
    middles, below = {}, float(TOP)
    for floor in range(circuit.layers + 1, -1, -1):
        lines = max((ceil(len(held) / ABREAST) for (_, at), held in cells.items() if at == floor), default=1)
        middles[floor] = below + (lines * STEP + 14) / 2
        below += lines * STEP + 14
    marks = _marks(nodes, cells, columns, middles)
    names = ["embeddings", *(f"layer {layer}" for layer in range(circuit.layers)), "target"]
    return Chart(
        width=right + 8,
        height=below + FOOT,
        columns=[(x, "all" if position < 0 else _short(tokens[position])) for position, x in columns.items()],
        rows=[(middles[floor], name) for floor, name in enumerate(names)],
        marks=marks,
        lines=_lines(circuit.edges, marks),
    )


def _marks(
    nodes: pd.DataFrame,
    cells: dict[tuple[int, int], list[int]],
    columns: dict[int, float],
    middles: dict[int, float],
) -> list[Mark]:
    influence = nodes["influence"].to_numpy()
    inner = influence[(nodes["kind"] != "logit").to_numpy()]
    most = max(float(inner.max(initial=0.0)), np.finfo(float).tiny)
    marks = []
    for (position, floor), held in cells.items():
        for number, node in enumerate(held):
            line, place = divmod(number, ABREAST)
            abreast = min(len(held) - line * ABREAST, ABREAST)
            x = columns[position] + (place - (abreast - 1) / 2) * STEP
            y = middles[floor] + (line - (ceil(len(held) / ABREAST) - 1) / 2) * STEP
            part = sqrt(min(float(influence[node]) / most, 1.0))
            marks.append(Mark(node, x, y, SMALLEST + (LARGEST - SMALLEST) * part))
    return sorted(marks, key=lambda mark: mark.node)


def _lines(edges: pd.DataFrame, marks: list[Mark]) -> list[Line]:
    """The heaviest value edges between marked nodes, the lightest first, so that heavy ones lie on top."""
    at = {mark.node: mark for mark in marks}
    value = edges[(edges["kind"] == "value") & edges["source"].isin(at.keys()) & edges["target"].isin(at.keys())]
    size = value["weight"].abs()
    chosen = value.loc[size.nlargest(EDGES).index[::-1]]
    most = float(size.max()) if len(size) else 1.0
    lines = []
    for edge in chosen.to_dict("records"):
        source, target = at[edge["source"]], at[edge["target"]]
        opacity = FAINTEST + (0.9 - FAINTEST) * sqrt(abs(edge["weight"]) / (most or 1.0))
        lines.append(Line(source.x, source.y, target.x, target.y, edge["weight"] > 0, opacity))
    return lines


def _short(token: str) -> str:
    return token if len(token) <= CHARACTERS else token[: CHARACTERS - 1] + "…"


def shape(kind: str, mark: Mark) -> dict[str, Any]:
    """What draws a node: the SVG element and its attributes; the kind has a shape of its own beside its colour."""
    x, y, r = mark.x, mark.y, mark.radius
    if kind == "expert":
        return {"element": "circle", "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{r:.1f}"}
    if kind == "rest":
        return {"element": "path", "d": f"M{x:.1f} {y - r:.1f}l{r:.1f} {r:.1f} {-r:.1f} {r:.1f} {-r:.1f} {-r:.1f}z"}
    if kind == "mlp":
        return {"element": "path", "d": f"M{x - r:.1f} {y - r:.1f}h{2 * r:.1f}l{-r:.1f} {2 * r:.1f}z"}
    if kind == "bias":
        return {"element": "path", "d": f"M{x:.1f} {y - r:.1f}l{r:.1f} {2 * r:.1f}h{-2 * r:.1f}z"}
    side = 2 * r * 0.9
    corner = {"x": f"{x - side / 2:.1f}", "y": f"{y - side / 2:.1f}"}
    return {"element": "rect", **corner, "width": f"{side:.1f}", "height": f"{side:.1f}", "rx": "2"}
