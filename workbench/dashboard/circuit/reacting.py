"""The panel of what scaling experts does: the target as the circuit predicts it and as the model computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...report.palette import LOWERS, RAISES
from ..elements import Element, html
from ..parts import bar, fact, facts, table, token_shown
from ..prompting.draw import change
from .asked import Asked
from .buttons import button, pin_button
from .traced import Traced

if TYPE_CHECKING:
    from ...analysis.circuits.intervene import Reaction

LISTED = 8  # nodes that changed most


def changes(traced: Traced, reaction: Reaction) -> dict[str, float]:
    """Name of each node whose value changed -> by how much, in logits."""
    table_ = reaction.nodes
    by = (table_["after"] - table_["before"]).to_numpy()
    return {
        traced.names[int(node)]: float(f"{delta:.4g}") for node, delta in zip(table_["node"], by, strict=True) if delta
    }


def reaction_part(traced: Traced, asked: Asked, factors: Mapping[str, float], reaction: Reaction) -> list[Any]:
    """The panel.

    Args:
        traced: the circuit.
        asked: what it was asked for by.
        factors: name of a node -> what its expert was scaled by.
        reaction: what the model did then.
    """
    scaled = [
        html.Li([pin_button(traced, traced.number(name)), f" × {factor:g}" if factor else " ablated"])
        for name, factor in factors.items()
    ]
    goal = traced.title(len(traced.names) - 1)
    numbers = [
        fact(goal, change(reaction.before, reaction.after, digits=3), "in the model"),
        fact("predicted by the circuit", change(reaction.before, reaction.predicted, digits=3)),
        fact("routing changed", f"{100 * reaction.routing_changed:.1f} %", "of active keys"),
        fact("attention moved", f"{100 * reaction.attention_moved:.1f} %", "total variation"),
    ]
    return [
        html.Ul(scaled, className="circuit-members"),
        facts(numbers),
        _next_tokens(asked, reaction),
        _moved(traced, reaction),
        html.Div(button("restore", "Restore all"), className="circuit-buttons"),
    ]


def _next_tokens(asked: Asked, reaction: Reaction) -> Element:
    rows = [
        [
            html.Span(token_shown(asked.whole.token_text(int(row.token))), className="chip"),
            bar(row.after, RAISES if row.after >= row.before else LOWERS),
            html.Span(change(100 * row.before, 100 * row.after, " %", 1)),
        ]
        for row in reaction.next_tokens.itertuples(index=False)
    ]
    return table(["next token", None, "probability"], rows, "Next tokens before and after", numeric=2)


def _moved(traced: Traced, reaction: Reaction) -> Element:
    moved = reaction.nodes.assign(by=(reaction.nodes["after"] - reaction.nodes["before"]).abs())
    rows = [
        [pin_button(traced, int(row.node)), html.Span(change(row.before, row.after, digits=3))]
        for row in moved.nlargest(LISTED, "by").itertuples(index=False)
        if row.by > 0
    ]
    return html.Div([html.H4("Nodes that changed most"), table(["node", "value"], rows, "Nodes that changed most")])
