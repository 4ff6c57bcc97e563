"""The panel beside a circuit: the node in hand, or several folded together, with its strongest sources and readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import NotFoundError
from ...report.numbers import score_text
from ...report.palette import LOWERS, RAISES
from ...store.address import Expert
from ..act import act_button
from ..cards import card
from ..elements import Element, html
from ..links import expert_link
from ..parts import aria, bar, fact, facts, swatch, table, term
from .buttons import button, pin_button
from .traced import Traced

if TYPE_CHECKING:
    from ..context import Context

LISTED = 6  # sources and readers of each kind
NEURONS = 12
MEMBERS = 40  # of a fold that are named
OPENED = "circuit-open"  # store of the edge that is opened into heads, or the MLP into neurons
FACTORS = ((0, "Ablate"), (0.5, "× 0.5"), (2, "× 2"), (1, "Restore"))


def pinned_part(ctx: Context, traced: Traced, members: Sequence[str], title: str, fold: str = "") -> list[Any]:
    """The panel of a node, or of nodes that are folded together.

    Args:
        ctx: the run.
        traced: the circuit.
        members: names of the nodes.
        title: what they are called.
        fold: key of the fold, where it can be undone.

    Raises:
        NotFoundError: the circuit has no such node.
    """
    numbers = [traced.number(name) for name in members]
    alone = len(numbers) == 1
    return [
        html.H3(traced.title(numbers[0]) if alone else title),
        *(_alone(ctx, traced, numbers[0]) if alone else _together(traced, numbers)),
        _buttons(traced, members, fold),
        *_edges(traced, numbers, alone),
    ]


def _alone(ctx: Context, traced: Traced, number: int) -> list[Any]:
    row, expert = traced.nodes[number], traced.expert(number)
    numbers = [_value(row.value, "value"), _share(row.influence)]
    if row.kind == "mlp":
        told = f"show the neurons of the {traced.title(number)}"
        return [facts(numbers), act_button("neurons", OPENED, told, node=traced.names[number])]
    if expert is None:
        return [facts(numbers)]
    numbers += [
        fact(term("routing score"), score_text(row.score), f"head {row.head} most"),
        fact("margin", score_text(row.margin), "router logits above the threshold"),
    ]
    return [_expert(ctx, expert), facts(numbers)]


def _expert(ctx: Context, expert: Expert) -> Element:
    told = card(ctx, expert)
    return html.Div(
        [
            html.P(
                [
                    swatch(told["colour"]),
                    html.A(f"{expert}", href=expert_link(*expert), **aria(label=f"expert {expert}, {told['label']}")),
                    html.Span(f" {told['label']}", className="expert-label"),
                ]
            ),
            html.Div([html.Span(token, className="chip") for token in told["tokens"]], className="chips"),
            html.P(told["explanation"], className="note") if told["explanation"] else None,
        ],
        className="circuit-expert",
    )


def _together(traced: Traced, numbers: list[int]) -> list[Any]:
    rows = traced.circuit.nodes.iloc[numbers].sort_values("influence", ascending=False)
    names = [html.Li(pin_button(traced, int(number))) for number in rows["node"].head(MEMBERS)]
    more = len(rows) - len(names)
    return [
        facts(
            [
                fact("nodes", f"{len(rows)}"),
                _value(rows["value"].sum(), "sum of values"),
                _share(rows["influence"].sum()),
            ]
        ),
        html.Details(
            [
                html.Summary("Its nodes"),
                html.Ul(names, className="circuit-members"),
                html.P(f"and {more} more", className="note") if more else None,
            ]
        ),
    ]


def _value(value: float, name: str) -> Element:
    return fact(name, f"{value:+.4f}", "logits")


def _share(influence: float) -> Element:
    return fact("influence", f"{100 * influence:.2f} %")


def _buttons(traced: Traced, members: Sequence[str], fold: str) -> Element:
    scaled = [name for name in members if traced.nodes[traced.number(name)].kind in ("expert", "mlp")]
    names = ",".join(scaled)
    scaling = [button("scale", shown, factor=f"{factor}", nodes=names) for factor, shown in FACTORS]
    others = [button("unpin", "Unpin")] + ([button("unfold", "Unfold", fold=fold)] if fold else [])
    return html.Div([*(scaling if scaled else []), *others], className="circuit-buttons")


def _edges(traced: Traced, numbers: list[int], alone: bool) -> list[Any]:
    parts: list[Any] = []
    for kind, sources, readers in (
        ("value", "What adds to its value", "Whose value it adds to"),
        ("routing", "What routes tokens to it", "What it routes tokens to"),
    ):
        for title, here, there in ((sources, "target", "source"), (readers, "source", "target")):
            found = _sums(traced, numbers, kind, here, there)
            if len(found):
                parts += [html.H4(title), _table(traced, numbers, found, kind, here, alone, title)]
    return parts


def _sums(traced: Traced, numbers: list[int], kind: str, here: str, there: str) -> pd.Series:
    """Weight of the edges of a kind between some nodes and every other one, largest first."""
    edges = traced.circuit.edges
    mine = edges[edges[here].isin(numbers) & ~edges[there].isin(numbers) & (edges["kind"] == kind)]
    sums = mine.groupby(there)["weight"].sum()
    return sums.loc[sums.abs().sort_values(ascending=False, kind="stable").index]


def _table(
    traced: Traced, numbers: list[int], found: pd.Series, kind: str, here: str, alone: bool, title: str
) -> Element:
    largest = float(np.abs(found.iloc[0]))
    rows = []
    for other, weight in found.head(LISTED).items():
        ends = (other, numbers[0]) if here == "target" else (numbers[0], other)
        opened = None
        if alone and _opens(traced, *ends):
            names = [traced.names[end] for end in ends]
            told = f"show the attention heads between {traced.title(ends[0])} and {traced.title(ends[1])}"
            opened = act_button("heads", OPENED, told, source=names[0], target=names[1], kind=kind)
        shade = RAISES if weight > 0 else LOWERS
        rows.append([pin_button(traced, other), bar(abs(weight) / largest, shade), f"{weight:+.4f}", opened])
    unit = "logits" if kind == "value" else "router logits"
    drawn = table(["node", None, unit, None], rows, title, numeric=2)
    more = len(found) - len(rows)
    return html.Div([drawn, html.P(f"and {more:,} more, which are weaker", className="note") if more else None])


def _opens(traced: Traced, source: int, target: int) -> bool:
    kinds = traced.nodes[source].kind, traced.nodes[target].kind
    return kinds[0] in ("embed", "expert", "mlp") and kinds[1] in ("expert", "mlp", "logit")


def heads_part(traced: Traced, source: str, target: str, kind: str, found: pd.DataFrame) -> list[Any]:
    """The attention heads that an edge goes through first, with what each carries.

    Raises:
        NotFoundError: the circuit has no such node.
    """
    if found.empty:
        raise NotFoundError("no attention head carries this edge.")
    largest = found["weight"].abs().max()
    rows = [
        [
            "straight, along the residual stream" if row.layer < 0 else f"head {row.head} of layer {row.layer}",
            bar(abs(row.weight) / largest, RAISES if row.weight > 0 else LOWERS),
            f"{row.weight:+.4f}",
        ]
        for row in found.head(LISTED).itertuples(index=False)
    ]
    ends = f"{traced.title(traced.number(source))} → {traced.title(traced.number(target))}"
    title = f"Heads of the {kind} edge"
    return [
        html.H4(title),
        html.P(ends, className="note"),
        table(["first goes through", None, "weight"], rows, title, 2),
    ]


def neurons_part(traced: Traced, node: str, found: pd.DataFrame) -> list[Any]:
    """The neurons that an MLP's value is made of, the largest first.

    Raises:
        NotFoundError: the circuit has no such node.
    """
    largest = found["value"].abs().max() or 1.0
    rows = [
        [
            f"neuron {int(row.neuron)}",
            f"{row.activation:+.3f}",
            bar(abs(row.value) / largest, RAISES if row.value > 0 else LOWERS),
            f"{row.value:+.4f}",
        ]
        for row in found.head(NEURONS).itertuples(index=False)
    ]
    title = f"Neurons of the {traced.title(traced.number(node))}"
    more = len(found) - len(rows)
    return [
        html.H4(title),
        table([term("neuron"), "activation", None, "logits"], rows, title, 3),
        html.P(f"and {more:,} more, which are weaker", className="note") if more else None,
    ]
