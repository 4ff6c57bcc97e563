"""Unlearning: choose labels, remove their experts, and see what that does to the loss on every label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, State

from ...analysis import MaskResult, bootstrap_mask, read_curve
from ...jobs import Request
from ...report.labels import natural_order, plot_labels
from ...store.token_text import visible_label
from .. import figures, unlearning
from ..context import Context
from ..elements import Element, Widget, dcc, html
from ..failures import message_or
from ..links import MASK_PATH, Address, label_link, mask_link
from ..page import Page
from ..parts import fact, facts, label_mark, message, panel, picture, table, tabs, term
from ..removal import Removal, read_removal
from ..running import run_first, unanalysed
from ..unlearning import choice_panel

MATRIX_LABELS = 30  # on a side: more cells than that cannot be read, and take megabytes
MATRICES = ("mask-matrix", "mask-overlap")  # their figures
CONTROLS = {"chosen": "the label's own", "random": "random", "equal": "activity-matched"}


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?without=lua,python&ratio=3&confirmed=1`` is of a choice, and ``?show=perplexity`` shows perplexities
    in place of the rise in loss.

    Raises:
        BadInputError: a ratio that is none, or below that of the analysis.
        NotFoundError: a label that the run does not have.
        NotAnalysedError: a choice of labels, of a run that has not been analysed.
    """
    perplexity, removal = address.query.get("show") == "perplexity", read_removal(address, ctx)
    return [
        html.H1(["Unlearning", html.Small("Masking: removing the experts of a label")]),
        choice_panel(ctx, removal) if ctx.analysed else unanalysed(ctx),
        *message_or(_masking, ctx, perplexity, removal),
        *message_or(_curve_panel, ctx, removal),
        *message_or(_overlap_panel, ctx),
    ]


def _masking(ctx: Context, perplexity: bool, removal: Removal) -> list[Any]:
    result = removal.mask(ctx) if removal else ctx.mask()
    if result is None:
        if not removal:
            return [run_first(ctx, "No masking matrix yet", Request("mask"))]
        purpose = "To remove the experts of each chosen label in turn and measure the loss on every label"
        return [run_first(ctx, "This choice is not measured yet", removal.mask_request(ctx), purpose)]
    return [
        _summary(result),
        *_skipped(result.skipped),
        _matrix_panel(ctx, result, perplexity, removal),
        _by_label(ctx, result),
    ]


def _skipped(labels: Sequence[str]) -> list[Any]:
    """Names the labels that could not be split into documents that choose and documents that measure."""
    if not labels:
        return []
    reason = "Fewer than two documents, near copies counted once: none to measure on after choosing experts. "
    title = "One label was skipped" if len(labels) == 1 else f"{len(labels)} labels were skipped"
    return [message(title, f"{reason}{', '.join(map(visible_label, natural_order(labels)))}.")]


def _summary(result: MaskResult) -> Element:
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


def _shown(labels: Sequence[str], ctx: Context) -> list[str]:
    """The labels of a matrix as they are listed; of many, the largest."""
    tokens = ctx.run.label_tokens
    largest = sorted(natural_order(labels), key=lambda label: -int(tokens.get(label, 0)))[:MATRIX_LABELS]
    return natural_order(largest)


def _left_out(labels: Sequence[str], shown: Sequence[str], where: str) -> str:
    return f" Shown: the {len(shown)} largest of {len(labels):,} labels; {where}." if len(shown) < len(labels) else ""


def _matrix_panel(ctx: Context, result: MaskResult, perplexity: bool, removal: Removal) -> Element:
    rows, columns = _shown(result.rows, ctx), _shown(result.labels, ctx)
    values = result.perplexity if perplexity else result.matrix
    values = values[np.ix_([result.rows.index(row) for row in rows], [result.labels.index(name) for name in columns])]
    unit = "perplexity" if perplexity else "rise in loss, nats"
    figure = figures.matrix(rows, columns, values, not perplexity, unit, 2 if perplexity else 3)
    described = (
        f"Matrix of {unit} on held-out documents. Rows are the labels whose experts are removed, columns the labels "
        "measured. Every cell shows its number; the table below links the labels."
    )
    chosen = removal.query()
    views = [
        ("Rise in loss", mask_link(removal=chosen), not perplexity),
        ("Perplexity", mask_link(perplexity=True, removal=chosen), perplexity),
    ]
    return panel(
        "Matrix",
        [tabs("what the matrix shows", views), *_matrix(MATRICES[0], figure, rows, columns, described)],
        note="A click on a cell opens the page of the label removed. Rows: the label whose "
        f"{'confirmed' if result.confirmed else 'specialised'} experts are removed "
        "(zero-ablated). Columns: the label measured, on documents that had no part in choosing the experts."
        + _left_out(result.labels, columns, "analysis/mask.json of the run has all"),
    )


def _matrix(
    name: str, figure: go.Figure, rows: Sequence[str], columns: Sequence[str], described: str
) -> list[Element | Widget]:
    """A matrix over the width of the page, whose cells open the pages of their rows' labels."""
    graph = dcc.Graph(
        id=name,
        figure=figure,
        config={"displayModeBar": False},
        className="label-matrix",
        responsive=True,  # which takes the height of its place too
        style={"height": f"{figure.layout.height}px", "minWidth": f"{figures.matrix_width(rows, columns)}px"},
    )
    links = {shown: label_link(label) for shown, label in zip(plot_labels(rows), rows, strict=True)}
    return [picture(graph, described), dcc.Store(id=f"{name}-links", data=links)]


def _by_label(ctx: Context, result: MaskResult) -> Element:
    rows, shown = [], _shown(result.rows, ctx)
    for label in shown:
        at, own = result.rows.index(label), result.labels.index(label)
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
        note=[
            "Nats per token. ",
            term("random control", "Control"),
            ": as many active experts drawn at random."
            + _left_out(result.rows, shown, "analysis/mask.json of the run has all"),
        ],
    )


def _curve_panel(ctx: Context, removal: Removal) -> Any:
    stored = removal.curve(ctx) if removal else read_curve(ctx.run)
    if stored is None:
        title = "No trade-off curve of this choice yet" if removal else "No trade-off curve yet"
        return run_first(ctx, title, removal.curve_request() if removal else Request("curve"))
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
        [*_skipped(stored.skipped), picture(drawn, described), table(head, rows, "Points of the trade-off curve")],
        note=[
            term("forget/retain trade-off", "Trade-off"),
            f" averaged over labels, with experts removed in order of {stored.order}, measured on documents that had "
            f"no part in choosing them. Dotted line: the other labels' loss has risen by {stored.budget:g} nats "
            f"per token.{gain}",
        ],
    )


def _overlap_panel(ctx: Context) -> Element:
    labels = _shown(ctx.run.labels, ctx)
    shared = ctx.overlap(labels).shared
    values = shared.to_numpy(copy=True)
    np.fill_diagonal(values, np.nan)  # 1 by definition: it would use up the colour scale
    axes = ("label", "and label")
    figure = figures.matrix(list(shared.index), list(shared.columns), values, False, "fraction of mass", 2, axes)
    described = "Matrix of the fraction of mass that two labels put on the same experts; each cell has its number."
    return panel(
        "Experts shared by labels",
        _matrix(MATRICES[1], figure, labels, labels, described),
        note=[
            term("overlap", "Overlap"),
            ": the fraction of routing mass that two labels put on the same experts (1 minus the total variation "
            "distance). It does not depend on the rule for specialised experts."
            + _left_out(ctx.run.labels, labels, "label_overlap of workbench.analysis has all"),
        ],
    )


def register(app: Dash, ctx: Context) -> None:
    """The choice of labels, and the way from a cell of a matrix to a label."""
    unlearning.register(app, ctx)
    for name in MATRICES:
        app.clientside_callback(
            ClientsideFunction("monet", "openRow"),
            Output("url", "pathname", allow_duplicate=True),
            Output("url", "search", allow_duplicate=True),
            Input(name, "clickData"),
            State(f"{name}-links", "data"),
            prevent_initial_call=True,
        )


PAGE = Page("mask", MASK_PATH, "Unlearning", layout, navigation="Unlearning", register=register)
