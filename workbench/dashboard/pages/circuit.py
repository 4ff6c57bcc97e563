"""The circuit page: the graph of experts behind a token, drawn by need, pruned, folded, and changed in the real model.

The parts are in ``workbench.dashboard.circuit``; the picture is drawn by ``assets/circuit.js``, which keeps what is
pinned, folded and scaled in the address.
"""

from __future__ import annotations

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State

from ...errors import WorkbenchError
from ..act import act_store
from ..atlas.legend import labels_legend
from ..circuit import answers, form, saved
from ..circuit.answers import thresholds
from ..circuit.asked import FIELDS, read_asked
from ..circuit.buttons import button
from ..circuit.listing import nodes_table
from ..circuit.pinned import OPENED, heads_part, neurons_part, pinned_part
from ..circuit.reacting import changes, reaction_part
from ..circuit.traced import find, heads, neurons, reaction, start
from ..context import Context
from ..elements import Element, Widget, dcc, dmc, html
from ..freeze import freeze
from ..links import CIRCUIT_PATH, Address, circuit_templates
from ..page import Page
from ..parts import aria, message, panel, term

HELP = (
    "Drag to move, scroll to zoom. Click a node to pin it, with Ctrl to pin several, with Shift to select it for "
    "folding. On the keyboard, arrow keys move from node to node, with Shift up and down to the strongest reader and "
    "source; Enter pins, Space selects, F folds, A ablates, + and − zoom, 0 shows all, Escape unpins, Ctrl+Z undoes."
)
HINT = "Nothing is pinned. Click a node of the picture, or its name in the table below."
UNSCALED = "Nothing is ablated. Pin a node and press Ablate: the model runs without that expert at that token."
GROUPS = {"none": "nothing", "label": "experts of a label", "row": "experts of a row", "column": "experts of a column"}
FOLLOWED = {"none": "nothing", "up": "what leads to the pins", "down": "what the pins lead to", "both": "both ways"}


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page. ``text``, ``at``, ``target``, ``minus``, ``nodes``, ``edit`` and ``without`` choose the circuit;
    ``keep``, ``edges``, ``kinds``, ``group``, ``follow``, ``pin``, ``fold`` and ``scale`` are the script's.

    Raises:
        BadInputError: a threshold that is no number from 0 to 1.
    """
    chosen = thresholds(address.query)
    query = {name: address.query[name] for name in FIELDS if name in address.query}
    try:
        asked = read_asked(ctx, query)
        start(ctx, asked)
    except WorkbenchError as error:
        told = message("This circuit cannot be traced", str(error), "error")
        return [html.H1("Circuits"), form.form_panel(ctx, query, None), told, dcc.Store(id="circuit-query", data=query)]
    side = html.Div(
        [
            panel("Pinned", [_filled("circuit-pinned", HINT), _filled("circuit-heads")]),
            panel("Ablation", [_filled("circuit-reaction", UNSCALED)]),
        ],
        className="circuit-side",
    )
    note = [
        "Every node is an expert at one layer and token; its size is its ",
        term("influence"),
        ". Squares are embeddings, biases, the other experts of a layer together, and MLPs of dense layers. ",
        html.Span(HELP, id="circuit-help"),
    ]
    return [
        html.H1("Circuits"),
        form.form_panel(ctx, query, asked),
        html.Div(
            [panel("Circuit", [_controls(chosen, address.query), _map(ctx)], note=note), side],
            className="circuit-page",
        ),
        html.Div(panel("Nodes", [_filled("circuit-table")]), className="circuit-page narrow"),
        saved.saved_panel(ctx),
        dcc.Store(id="circuit-query", data=query),
        dcc.Store(id="circuit-facts", data={"paths": circuit_templates(query)}),
        *(dcc.Store(id=f"circuit-{name}") for name in ("started", "drawn", "chosen", "scale", "changes")),
        act_store(OPENED),
    ]


def _filled(name: str, text: str = "") -> Widget:
    """A part that a callback fills in."""
    return dcc.Loading(
        dmc.Box(freeze(html.P(text, className="note")) if text else None, id=name, **aria(live="polite")),
        delay_show=300,
    )


def _slider(name: str, label: str, value: float) -> Element:
    slider = dmc.Slider(
        id=f"circuit-{name}",
        value=value,
        min=0,
        max=1,
        step=0.01,
        thumbLabel=label,
        updatemode="mouseup",
        className="circuit-slider",
    )
    return html.Div([html.Span(label, className="circuit-field", **aria(hidden="true")), slider])


def _controls(chosen: tuple[float, float], query: dict[str, str]) -> Element:
    kinds = query.get("kinds", "value").split(",")
    boxes = dmc.CheckboxGroup(
        id="circuit-kinds",
        value=[kind for kind in kinds if kind in ("value", "routing")],
        label="Edges",
        children=dmc.Group([dmc.Checkbox(label=kind, value=kind) for kind in ("value", "routing")], mt=6),
    )
    choices = [
        dmc.Select(
            id=f"circuit-{name}",
            label=label,
            data=[{"value": value, "label": shown} for value, shown in options.items()],
            value=query.get(name, "") or "none",
            allowDeselect=False,
            w=200,
        )
        for name, label, options in (("group", "Fold together", GROUPS), ("follow", "Follow", FOLLOWED))
    ]
    return html.Div(
        [
            _slider("keep", "Nodes: influence kept", chosen[0]),
            _slider("edges", "Edges: influence kept", chosen[1]),
            boxes,
            *choices,
        ],
        className="circuit-bar",
    )


def _map(ctx: Context) -> Element:
    """Where the script draws."""
    buttons = [
        button("in", "+", "zoom in"),
        button("out", "−", "zoom out"),
        button("all", "All", "show all"),
        button("undo", "Undo", "undo"),
        button("redo", "Redo", "redo"),
        button("select", "Select", "select by dragging", pressed="false"),
    ]
    fold = [
        dmc.TextInput(
            id="circuit-name",
            placeholder="name of the fold",
            size="xs",
            w=150,
            **aria(label="name of the fold"),
        ),
        button("fold", "Fold", "fold the selected nodes into one"),
    ]
    canvas: dict[str, Any] = {"role": "application", "tabIndex": "0"}
    return html.Div(
        [
            html.Div([*buttons, *fold], className="circuit-buttons"),
            html.Canvas(
                className="circuit-canvas",
                **canvas,
                **aria(label="The circuit: tokens left to right, layers bottom to top", describedby="circuit-help"),
            ),
            html.P("Loading the circuit …", className="note circuit-says", **aria(live="polite")),
            html.P(className="note circuit-kept"),
            _legend(ctx),
        ],
        className="circuit-map",
    )


def _legend(ctx: Context) -> Element:
    edges = html.Ul(
        [
            html.Li(
                [html.Span(className=f"circuit-line {name}", **aria(hidden="true")), shown], className="legend-entry"
            )
            for name, shown in (("raises", "adds value"), ("lowers", "takes value away"), ("routing", "routes"))
        ],
        className="legend",
        **aria(label="Colours of the edges"),
    )
    return html.Div([edges, labels_legend(ctx, [(ctx.without_label, "no-label")], "Colours of the nodes")])


def register(app: Dash, ctx: Context) -> None:
    """What the script asks for, and the panels that follow what it says is pinned and scaled."""
    answers.register(app, ctx)
    form.register(app, ctx)
    saved.register(app, ctx)

    @app.callback(
        Output("circuit-table", "children"),
        Input("circuit-drawn", "data"),
        State("circuit-query", "data"),
        prevent_initial_call=True,
    )
    def listed(drawn: dict[str, float], query: dict[str, str]) -> Any:
        return freeze(nodes_table(ctx, find(ctx, read_asked(ctx, query)), drawn["keep"], drawn["edges"]))

    @app.callback(
        Output("circuit-pinned", "children"),
        Output("circuit-heads", "children"),
        Input("circuit-chosen", "data"),
        State("circuit-query", "data"),
        prevent_initial_call=True,
    )
    def pinned(chosen: dict[str, Any] | None, query: dict[str, str]) -> tuple[Any, None]:
        if not chosen:
            return freeze(html.P(HINT, className="note")), None
        traced = find(ctx, read_asked(ctx, query))
        return freeze(pinned_part(ctx, traced, chosen["members"], chosen["title"], chosen["fold"])), None

    @app.callback(
        Output("circuit-heads", "children", allow_duplicate=True),
        Input(OPENED, "data"),
        State("circuit-query", "data"),
        prevent_initial_call=True,
    )
    def opened(said: dict[str, str], query: dict[str, str]) -> Any:
        asked = read_asked(ctx, query)
        if "node" in said:
            return freeze(neurons_part(find(ctx, asked), said["node"], neurons(ctx, asked, said["node"])))
        ends = said["source"], said["target"], said["kind"]
        return freeze(heads_part(find(ctx, asked), *ends, heads(ctx, asked, *ends)))

    @app.callback(
        Output("circuit-reaction", "children"),
        Output("circuit-changes", "data"),
        Input("circuit-scale", "data"),
        State("circuit-query", "data"),
        prevent_initial_call=True,
    )
    def reacted(factors: dict[str, float] | None, query: dict[str, str]) -> tuple[Any, Any]:
        if not factors:
            return freeze(html.P(UNSCALED, className="note")), {}
        try:
            asked = read_asked(ctx, query)
            traced = find(ctx, asked)
            found = reaction(ctx, asked, factors)
        except WorkbenchError as error:
            return message("The model was not run", str(error), "error"), {}
        return freeze(reaction_part(traced, asked, factors, found)), changes(traced, found)

    app.clientside_callback(
        ClientsideFunction("circuit", "draw"), Output("circuit-started", "data"), Input("circuit-facts", "data")
    )
    app.clientside_callback(
        ClientsideFunction("circuit", "settings"),
        *(Input(f"circuit-{name}", "value") for name in ("keep", "edges", "kinds", "group", "follow")),
        prevent_initial_call=True,
    )
    app.clientside_callback(ClientsideFunction("circuit", "changed"), Input("circuit-changes", "data"))


PAGE = Page("circuit", CIRCUIT_PATH, "Circuits", layout, navigation="Circuits", register=register)
