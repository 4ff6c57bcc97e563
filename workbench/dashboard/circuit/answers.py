"""What the script of a circuit asks for: the pruned graph, and the edges of one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dash import Dash
from flask import Response, jsonify, request

from ...analysis.defaults import EDGE_THRESHOLD, NODE_THRESHOLD
from ...errors import BadInputError, WorkbenchError, kind_of
from .. import links
from .asked import read_asked
from .graph import edges_answer, graph_answer
from .traced import find, state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..context import Context


def thresholds(query: Mapping[str, str]) -> tuple[float, float]:
    """The fractions of influence that an address keeps, of nodes and of edges: ``keep`` and ``edges``.

    Raises:
        BadInputError: one is no number from 0 to 1.
    """
    found = []
    for name, usual in (("keep", NODE_THRESHOLD), ("edges", EDGE_THRESHOLD)):
        text = query.get(name, "")
        try:
            value = float(text) if text else usual
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise BadInputError(f"the address says {name}={text[:40]!r}; write a number from 0 to 1 there.")
        found.append(value)
    return found[0], found[1]


def register(app: Dash, ctx: Context) -> None:
    """The addresses that answer."""

    def answered(make: Callable[[], dict[str, Any]]) -> Response:
        try:
            return jsonify(make())
        except WorkbenchError as error:
            return Response(f"{error}\n", status=kind_of(error).status, mimetype="text/plain")

    @app.server.get(links.CIRCUIT_GRAPH)
    def circuit_graph() -> Response:
        """The graph; while it is being traced, ``percent`` of it; ``failed`` where it cannot be traced."""

        def make() -> dict[str, Any]:
            query = request.args.to_dict()
            chosen = thresholds(query)
            asked = read_asked(ctx, query)
            found = state(ctx, asked)
            if found.running:
                return {"percent": found.percent}
            if isinstance(found.error, WorkbenchError):
                return {"failed": str(found.error)}
            return graph_answer(ctx, find(ctx, asked), *chosen)

        return answered(make)

    @app.server.get(links.CIRCUIT_EDGES)
    def circuit_edges(node: str) -> Response:
        return answered(lambda: edges_answer(ctx, find(ctx, read_asked(ctx, request.args.to_dict())), node))
