"""A circuit as a table: its nodes by influence, for those who cannot see the picture and those who want numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...report.labels import shortened
from ...report.numbers import score_text
from ...store.token_text import visible_label
from ..elements import html
from ..freeze import plain
from ..links import expert_link
from ..parts import LONGEST_NAME, swatch, table
from ..tables import GENERAL
from .graph import pruned_numbers
from .traced import Traced

if TYPE_CHECKING:
    from ..context import Context


def nodes_table(ctx: Context, traced: Traced, node_threshold: float, edge_threshold: float) -> Any:
    """The nodes that thresholds keep, by influence.

    Raises:
        BadInputError: a threshold lies outside 0 .. 1.
    """
    pruned = traced.circuit.prune(node_threshold, edge_threshold)
    numbers = pruned_numbers(traced, pruned)[(-pruned.nodes["influence"].to_numpy()).argsort(kind="stable")]
    labels = {group: ctx.experts(group)["specialised"] for group in ctx.run.groups}
    rows = []
    for number in map(int, numbers):
        row, expert = traced.nodes[number], traced.expert(number)
        label: Any = None
        link: Any = None
        if expert is not None:
            name = str(labels[expert.group].get(expert.id, GENERAL))
            shown = shortened(visible_label(name), LONGEST_NAME) or ctx.kind(*expert)
            label = html.Span([swatch(ctx.colour(name)), shown])
            link = plain("a", f"{expert}", href=expert_link(*expert))
        pin = plain(
            "button",
            traced.title(number),
            type="button",
            className="circuit-node",
            **{"data-pin": traced.names[number]},
        )
        score = "" if expert is None else score_text(row.score)
        rows.append([pin, link, label, f"{100 * row.influence:.2f} %", f"{row.value:+.4f}", score])
    heads = ["node", "expert", "label", "influence", "value", "routing score"]
    return html.Div(table(heads, rows, "Nodes of the circuit by influence", numeric=3), className="circuit-list")
