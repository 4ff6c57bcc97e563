"""The masking matrix: drop the experts of one label, measure every label."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import dcc, html

from ...analysis import MaskResult, bootstrap_mask, read_curve
from .. import figures
from ..context import Context
from ..links import Address, label_link
from ..parts import aria, fact, facts, label_mark, panel, picture, run_first, table


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?show=perplexity`` shows perplexities in place of the rise in loss."""
    result = ctx.mask()
    title = html.H1("Masking the experts of a label")
    if result is None:
        return [title, run_first("Not computed yet", "The masking matrix is there", f"monet mask {ctx.run.path}")]
    perplexity = address.query.get("show") == "perplexity"
    return [
        title,
        _summary(result),
        _matrix_panel(result, perplexity),
        _by_label(ctx, result),
        _curve_panel(ctx),
        _overlap_panel(ctx),
    ]


def _summary(result: MaskResult) -> html.Dl:
    known, ends = result.to_json(), bootstrap_mask(result)
    selectivity = known["selectivity"]
    ratio = "–" if selectivity is None else f"{selectivity:.1f}"
    return facts(
        [
            fact("delta target", f"{result.delta_target:+.4f}", _interval(ends.delta_target, "+.3f")),
            fact("delta others", f"{result.delta_others:+.4f}", _interval(ends.delta_others, "+.3f")),
            fact("selectivity, target over others", ratio, _interval(ends.selectivity, ".1f")),
            fact("random control, target", f"{known['control_target']:+.4f}", "as many random active experts"),
            fact("ratio", f"{result.ratio:g}", f"and {result.min_tokens:,} tokens make a specialised expert"),
        ]
    )


def _interval(ends: np.ndarray, form: str) -> str:
    low, high = (f"{end:{form}}" if np.isfinite(end) else "∞" for end in ends)
    return f"95 % over documents: {low} to {high}"


def _toggle(perplexity: bool) -> html.Nav:
    views = [("Rise in loss", "/mask", not perplexity), ("Perplexity", "/mask?show=perplexity", perplexity)]
    links = [
        html.A(
            name,
            href=href,
            className="group-link" + (" chosen" if chosen else ""),
            **aria(current="true" if chosen else None),
        )
        for name, href, chosen in views
    ]
    return html.Nav(links, className="group-links", **aria(label="what the matrix shows"))


def _matrix_panel(result: MaskResult, perplexity: bool) -> html.Section:
    values = result.perplexity if perplexity else result.matrix
    unit = "perplexity" if perplexity else "rise in loss, nats"
    drawn = dcc.Graph(
        figure=figures.matrix(result.rows, result.labels, values, not perplexity, unit, 2 if perplexity else 3),
        config={"displayModeBar": False},
    )
    described = (
        f"Matrix of {unit} on held-out documents. A row is the label whose experts are removed, a column the label "
        "measured; the number is in every cell, and the diagonal is in the table of labels too."
    )
    return panel(
        "Matrix",
        [_toggle(perplexity), picture(drawn, described)],
        note="Row: the label whose specialised experts are removed. Column: the label measured, on documents that had "
        "no part in choosing the experts.",
    )


def _by_label(ctx: Context, result: MaskResult) -> html.Section:
    rows = []
    for at, label in enumerate(result.rows):
        own = result.labels.index(label)
        others = np.delete(result.matrix[at], own)
        rows.append(
            [
                html.A(label_mark(label, ctx.colour(label)), href=label_link(label)),
                f"{result.removed[at]:,}",
                f"{result.baseline[own]:.4f}",
                f"{result.matrix[at, own]:+.4f}",
                f"{others.mean():+.4f}",
                f"{result.control[at, own]:+.4f}",
                f"{np.delete(result.control[at], own).mean():+.4f}",
            ]
        )
    head = [
        "label removed",
        "experts removed",
        "loss before",
        "delta target",
        "delta others",
        "control, target",
        "control, others",
    ]
    return panel(
        "Label by label",
        table(head, rows, "What removing the experts of each label does"),
        note="In nats of held-out loss. Control: as many active experts, drawn at random in each layer group, removed.",
    )


def _curve_panel(ctx: Context) -> Any:
    found = read_curve(ctx.run)
    if found is None:
        return run_first("No curve yet", "The price of unlearning is here", f"monet curve {ctx.run.path}")
    read = found.at_budget()
    said = "" if read is None else f" There a label's own loss rises by {read['chosen']['target']:+.3f} nats."
    drawn = dcc.Graph(figure=figures.curve(found.means, found.budget), config={"displayModeBar": False})
    rows = [
        [
            kind,
            f"{threshold:g}",
            f"{row.removed:,.0f}",
            f"{row.target:+.4f}",
            f"{row.others:+.4f}",
        ]
        for (kind, threshold), row in zip(found.means.index, found.means.itertuples(index=False), strict=True)
    ]
    return panel(
        "The price of unlearning",
        [
            picture(drawn, "What a label loses against what the others lose, as experts are removed; the table tells."),
            table(["experts", "threshold", "removed", "own loss", "others' loss"], rows, "Points of the curve"),
        ],
        note=f"Means over the labels, experts removed in order of {found.order}, on documents that chose none. The "
        f"dotted line is where the others have lost {found.budget:g} nats.{said}",
    )


def _overlap_panel(ctx: Context) -> html.Section:
    shared = ctx.overlap().shared
    figure = figures.matrix(
        list(shared.index),
        list(shared.columns),
        shared.to_numpy(),
        False,
        "part of the mass",
        2,
        ("label", "and label"),
    )
    drawn = dcc.Graph(figure=figure, config={"displayModeBar": False})
    return panel(
        "Experts that labels share",
        picture(drawn, "Matrix of the part of their mass that two labels put on the same experts; a number a cell."),
        note="The part of their routing mass that two labels put on the same experts, whatever the rule: 1 less the "
        "total variation distance.",
    )
