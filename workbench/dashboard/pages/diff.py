"""Which experts a fine-tune changed: by mass, output and contribution, and how few hold half of the change."""

from __future__ import annotations

from typing import Any

from dash import ClientsideFunction, Dash, Input, State, dcc

from ...analysis import DiffResult, read_diff
from ...analysis.diff.diff_result import CHANGES, RANKED_TOKENS
from ...errors import BadInputError
from ..comparing import diff as parts
from ..context import Context
from ..elements import Element, html
from ..failures import message_or
from ..links import DIFF_PATH, Address, card_template, diff_file, diff_link
from ..page import Page
from ..parts import chosen_group, command, files, group_links, message, panel, picture, tabs, term

LISTED = 50  # experts
MASSES = "diff-masses"  # the figure


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?by=mass`` sorts the experts, ``&group=1`` shows the masses of that group.

    Raises:
        BadInputError: experts cannot be sorted so.
        NotFoundError: the run has no such group.
    """
    by, group = address.query.get("by", "moved"), chosen_group(ctx, address)
    if by not in CHANGES:
        raise BadInputError(f"experts cannot be sorted by {by!r:.80}; choose one of {', '.join(CHANGES)}.")
    return [html.H1("What a fine-tune changed"), *message_or(_drawn, ctx, by, group)]


def _drawn(ctx: Context, by: str, group: int) -> list[Any]:
    result = read_diff(ctx.run)
    if result is None:
        line = html.Code(
            command("diff", "BASE", ctx.run.model_path, "CORPUS", "--run", ctx.run.path), className="command"
        )
        text = ["To see which experts of this run's model differ from those of the model it was made from, run ", line]
        return [message("Not compared yet", html.Div([*text, "."]))]
    return [
        parts.summary(result),
        panel(
            "Labels",
            parts.labels_table(ctx, result),
            note="Loss: mean cross-entropy, nats per predicted token. Rerouted: the part of the base model's mass that "
            "is on other experts now.",
        ),
        panel(
            "How few experts hold half of the change",
            parts.concentration_table(result),
            note="Outputs count by their squared change, contributions by their absolute change over all places. Mass "
            "itself: the experts that hold half of the base model's mass, to compare with.",
        ),
        _masses(ctx, result, by, group),
        _experts(ctx, result, by, group),
    ]


def _masses(ctx: Context, result: DiffResult, by: str, group: int) -> Element:
    figure = parts.masses(result, group, result.ranked(by, LISTED))
    graph = dcc.Graph(id=MASSES, figure=figure, config={"displayModeBar": False}, clear_on_unhover=True)
    return panel(
        [term("mass", "Mass"), " before and after"],
        [
            group_links(ctx, group, lambda one: diff_link(by=by, group=one)),
            picture(graph, f"Experts of group {group} by their mass in the base model and in this one."),
            dcc.Store(id="diff-card", data=card_template(group)),
        ],
        note=f"Every expert active in both, on logarithmic axes: the darker, the more. Orange: those of the {LISTED} "
        "listed below. On the line, nothing changed.",
    )


def _experts(ctx: Context, result: DiffResult, by: str, group: int) -> Element:
    links = [(title, diff_link(by=key, group=group), key == by) for key, title in parts.ORDERS.items()]
    return panel(
        "Experts that changed most",
        [
            html.Div([tabs("order", links, before="largest change in"), files("Report", diff_file)]),
            parts.experts_table(ctx, result.ranked(by, LISTED)),
        ],
        note=[
            f"{parts.NOTES[by]} Of experts that are active at {RANKED_TOKENS} tokens or more in one of the models. ",
            "Sorted by absolute value; a label is that in which mass per token changed most, with its part of all "
            "such changes.",
        ],
    )


def register(app: Dash, ctx: Context) -> None:
    """The card of the point in the figure that is pointed at."""
    app.clientside_callback(
        ClientsideFunction("hovercard", "figure"),
        Input(MASSES, "hoverData"),
        State(MASSES, "id"),
        State("diff-card", "data"),
    )


PAGE = Page(
    "diff",
    DIFF_PATH,
    "What a fine-tune changed",
    layout,
    navigation="Diff",
    register=register,
    useful=lambda ctx: ctx.run.analysis_path(f"{DiffResult.kind}.json").is_file(),
)
