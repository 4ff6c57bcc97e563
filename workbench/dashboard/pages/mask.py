"""The masking matrix: remove the experts of one label, measure the loss on every label."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import dcc, html

from ...analysis import MaskResult, bootstrap_mask, read_curve
from .. import figures
from ..context import Context
from ..failures import message_or
from ..links import MASK_PATH, Address, label_link, mask_link
from ..page import Page
from ..parts import command, fact, facts, label_mark, panel, picture, run_first, table, tabs, term

CONTROLS = {"chosen": "the label's own", "random": "random", "equal": "activity-matched"}


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?show=perplexity`` shows perplexities in place of the rise in loss."""
    perplexity = address.query.get("show") == "perplexity"
    return [
        html.H1("Masking the experts of a label"),
        *message_or(_masking, ctx, perplexity),
        *message_or(_curve_panel, ctx),
        *message_or(_overlap_panel, ctx),
    ]


def _masking(ctx: Context, perplexity: bool) -> list[Any]:
    result = ctx.mask()
    if result is None:
        purpose = "To remove each label's experts in turn and measure the loss on every label"
        return [run_first("No masking matrix yet", purpose, command("mask", ctx.run.path), "2 minutes")]
    return [_summary(result), _matrix_panel(result, perplexity), _by_label(ctx, result)]


def _summary(result: MaskResult) -> html.Dl:
    known, ends = result.to_json(), bootstrap_mask(result)
    selectivity = known["selectivity"]
    ratio = "–" if selectivity is None else f"{selectivity:.1f}"
    return facts(
        [
            fact(term("delta target"), f"{result.delta_target:+.4f}", _interval(ends.delta_target, "+.3f")),
            fact(term("delta others"), f"{result.delta_others:+.4f}", _interval(ends.delta_others, "+.3f")),
            fact(term("selectivity"), ratio, _interval(ends.selectivity, ".1f")),
            fact(term("random control"), f"{known['control_target']:+.4f}", "delta target, random experts"),
            fact(
                term("ratio", "minimum ratio"),
                f"{result.ratio:g}",
                [f"and {result.min_tokens:,} active tokens make an expert ", term("specialised")],
            ),
        ]
    )


def _interval(ends: np.ndarray, form: str) -> list[Any]:
    low, high = (f"{end:{form}}" if np.isfinite(end) else "∞" for end in ends)
    return [term("95 % CI"), f" {low} to {high}"]


def _matrix_panel(result: MaskResult, perplexity: bool) -> html.Section:
    values = result.perplexity if perplexity else result.matrix
    unit = "perplexity" if perplexity else "rise in loss, nats"
    drawn = dcc.Graph(
        figure=figures.matrix(result.rows, result.labels, values, not perplexity, unit, 2 if perplexity else 3),
        config={"displayModeBar": False},
    )
    described = (
        f"Matrix of {unit} on held-out documents. Rows are the labels whose experts are removed, columns the labels "
        "measured. Every cell shows its number."
    )
    views = [("Rise in loss", mask_link(), not perplexity), ("Perplexity", mask_link(perplexity=True), perplexity)]
    return panel(
        "Matrix",
        [tabs("what the matrix shows", views), picture(drawn, described)],
        note="Rows: the label whose specialised experts are removed (zero-ablated). Columns: the label measured, on "
        "documents that had no part in choosing the experts.",
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
        term("held-out loss", "loss before"),
        term("delta target"),
        term("delta others"),
        "control, target",
        "control, others",
    ]
    return panel(
        "By label",
        table(head, rows, "Effect of removing the experts of each label"),
        note=["Nats per token. ", term("random control", "Control"), ": as many active experts drawn at random."],
    )


def _curve_panel(ctx: Context) -> Any:
    stored = read_curve(ctx.run)
    if stored is None:
        purpose = "To see how much of a label can be forgotten, and at what cost to the others"
        return run_first("No trade-off curve yet", purpose, command("curve", ctx.run.path), "15 minutes")
    read = stored.at_budget()
    gain = "" if read is None else f" There, a label's own loss is up by {read['chosen']['target']:+.3f} nats."
    drawn = dcc.Graph(figure=figures.curve(stored.means, stored.budget), config={"displayModeBar": False})
    rows = [
        [CONTROLS[kind], f"{threshold:g}", f"{row.removed:,.0f}", f"{row.target:+.4f}", f"{row.others:+.4f}"]
        for (kind, threshold), row in zip(stored.means.index, stored.means.itertuples(index=False), strict=True)
    ]
    described = "Rise in a label's own loss against the mean rise of the other labels, as more experts are removed."
    head = ["experts removed", "threshold", "number", term("delta target"), term("delta others")]
    return panel(
        "Forget/retain trade-off",
        [picture(drawn, described), table(head, rows, "Points of the trade-off curve")],
        note=[
            term("forget/retain trade-off", "Trade-off"),
            f" averaged over labels, with experts removed in order of {stored.order}, measured on documents that had "
            f"no part in choosing them. Dotted line: the other labels' loss has risen by {stored.budget:g} nats "
            f"per token.{gain}",
        ],
    )


def _overlap_panel(ctx: Context) -> html.Section:
    shared = ctx.overlap().shared
    values = shared.to_numpy(copy=True)
    np.fill_diagonal(values, np.nan)  # 1 by definition: it would use up the colour scale
    axes = ("label", "and label")
    figure = figures.matrix(list(shared.index), list(shared.columns), values, False, "fraction of mass", 2, axes)
    drawn = dcc.Graph(figure=figure, config={"displayModeBar": False})
    return panel(
        "Experts shared by labels",
        picture(
            drawn, "Matrix of the fraction of mass that two labels put on the same experts; each cell has its number."
        ),
        note=[
            term("overlap", "Overlap"),
            ": the fraction of routing mass that two labels put on the same experts (1 minus the total variation "
            "distance). It does not depend on the rule for specialised experts.",
        ],
    )


PAGE = Page("mask", MASK_PATH, "Masking", layout, navigation="Masking")
