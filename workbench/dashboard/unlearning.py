"""The choice of what is to be unlearned: labels, ratio, confirmed only; what goes at once, and what to do with it."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output

from ..errors import WorkbenchError
from ..store.token_text import visible_label
from .context import Context
from .elements import Element, dcc, dmc, html
from .freeze import freeze
from .links import edit_file, edit_link, mask_link
from .parts import Child, command, message, panel, table, term
from .removal import LARGEST_RATIO, Removal, analysed_ratio, checked

FIELDS = {"unlearn-labels": "value", "unlearn-ratio": "value", "unlearn-confirmed": "checked"}


def choice_panel(ctx: Context, removal: Removal) -> Element:
    """The fields, what the choice removes in each group, and links to what can be done with it.

    Raises:
        NotAnalysedError: the run has not been analysed.
    """
    least = analysed_ratio(ctx)
    labels = dmc.MultiSelect(
        id="unlearn-labels",
        label="Labels to forget",
        data=[{"value": label, "label": visible_label(label)} for label in ctx.labels],
        value=list(removal.labels),
        searchable=True,
        clearable=True,
        hidePickedOptions=True,
        w=320,
    )
    ratio = dmc.NumberInput(
        id="unlearn-ratio",
        label="Minimum ratio",
        description=f"{least:g} or more",
        value=removal.ratio_of(ctx),
        min=least,
        max=LARGEST_RATIO,
        step=0.5,
        debounce=300,
        w=130,
    )
    confirmed = dmc.Checkbox(
        id="unlearn-confirmed",
        label="confirmed experts only",
        checked=removal.confirmed,
        disabled=not ctx.tested,
        mb=8,
    )
    effect = dmc.Box(freeze(effect_of(ctx, removal, shown=True)), id="unlearn-effect")
    return panel(
        "What is to be unlearned",
        [html.Div([labels, ratio, confirmed], className="unlearn-fields"), dcc.Loading(effect, delay_show=200)],
        note=[
            "Experts of the chosen labels are removed (zero-ablated). Counts and file are of experts chosen on all "
            "documents, by ",
            term("ratio", "minimum ratio"),
            " and test; what is measured below chooses them on a part of the documents and takes losses on the others.",
        ],
    )


def effect_of(ctx: Context, removal: Removal, *, shown: bool = False) -> list[Child]:
    """How many experts a choice removes from each group, and where to go with it; ``shown`` for the page's own."""
    if not removal:
        return [
            html.P("Choose labels to see how many experts go, and to measure, try and save that.", className="note")
        ]
    rows, gone, alive = [], 0, 0
    for group in ctx.run.groups:
        removed, active = len(removal.experts(ctx, group)), len(ctx.experts(group))
        gone, alive = gone + removed, alive + active
        rows.append([f"{group}", f"{removed:,}", f"{active:,}", f"{removed / max(active, 1):.1%}"])
    rows.append(["all", f"{gone:,}", f"{alive:,}", f"{gone / max(alive, 1):.1%}"])
    edit = removal.edit().query()
    if not gone:
        return [message("No expert is left to remove", "Choose a lower ratio, or experts that are not confirmed too.")]
    links = [
        None if shown else html.A("Show what it does", href=mask_link(removal=removal.query()), className="button"),
        html.A("Try it on a prompt", href=edit_link(edit), className="button"),
        html.A("Save the edit as a file", href=edit_file(edit), download="", className="button"),
    ]
    line = command("export-model", ctx.model_path, "--edit", "EDIT.safetensors", "--out", "MODEL")
    return [
        table(["group", "experts removed", "active experts", "share"], rows, "Experts that the choice removes"),
        html.Div(links, className="unlearn-next"),
        html.P(
            ["A copy of the model with the saved edit built in: ", html.Code(line, className="command")],
            className="note",
        ),
    ]


def register(app: Dash, ctx: Context) -> None:
    """The fields show at once what they remove."""

    @app.callback(
        Output("unlearn-effect", "children"),
        *(Input(name, value) for name, value in FIELDS.items()),
        prevent_initial_call=True,
    )
    def show(labels: list[str] | None, ratio: object, confirmed: bool) -> Any:
        try:
            chosen = Removal(tuple(labels or ()), confirmed=bool(confirmed))
            removal = checked(chosen, ratio, analysed_ratio(ctx), ctx)
            return freeze(effect_of(ctx, removal))
        except WorkbenchError as error:
            return message("Nothing is chosen", str(error), "error")
