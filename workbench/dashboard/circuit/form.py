"""The form of a circuit: text, position, the token that is explained and the one it is compared with, size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State, no_update

from ...analysis.attribution.prompt import read_token
from ...errors import WorkbenchError
from ...store.token_text import visible
from ..elements import Element, dmc, html
from ..links import circuit_link, prompt_link, prompt_search
from ..parts import aria, panel, token_shown, told_plainly
from ..prompting.answer import prompt_limit
from ..prompting.samples import samples
from .asked import NODES, SIZES, Asked, read_asked
from .traced import find

if TYPE_CHECKING:
    from collections.abc import Mapping

from ..context import Context


def typed(asked: Asked, token: int | None) -> str:
    """A token as it is typed: its text, or its id where the text cannot be typed."""
    if token is None:
        return ""
    text = asked.whole.token_text(token)
    return text if text.isprintable() and not text.startswith(("#", "‹")) else f"#{token}"


def form_panel(ctx: Context, query: Mapping[str, str], asked: Asked | None) -> Element:
    """The form, filled in with what the address asks for; ``asked`` is None where that cannot be read."""
    text = dmc.Textarea(
        id="circuit-text",
        value=query.get("text", "" if asked is None else asked.whole.text),
        label=f"Text for the model, up to {prompt_limit(ctx)}",
        minRows=2,
        maxRows=8,
        autosize=True,
        spellCheck=False,
        className="prompt-text",
    )
    chosen = [(None, None)] * 2 if asked is None else [(asked.target, asked), (asked.minus, asked)]
    tokens = [
        dmc.Autocomplete(
            id=f"circuit-{name}",
            value="" if of is None else typed(of, token),
            data=[],
            label=label,
            placeholder=placeholder,
            w=170,
        )
        for (token, of), name, label, placeholder in zip(
            chosen, ("target", "minus"), ("Explain the token", "minus"), ("likeliest", "none"), strict=True
        )
    ]
    size = NODES if asked is None else asked.nodes
    nodes = dmc.Select(
        id="circuit-size",
        label="Experts in the circuit",
        data=[{"value": f"{one}", "label": f"{one:,}"} for one in sorted({*SIZES, size})],
        value=f"{size}",
        allowDeselect=False,
        w=170,
    )
    trace = dmc.Button("Trace", id="circuit-run", n_clicks=0)
    offered = samples(ctx, circuit_link)
    return panel(
        "Prompt",
        [
            text,
            html.Div([*tokens, nodes, trace], className="prompt-fields"),
            *([] if asked is None else [_chips(query, asked), _edit(query, asked)]),
            None if offered is None else html.Details([html.Summary("Other prompts"), offered]),
        ],
        note="The circuit explains why the model expects a token: which experts made it, and what made each of them.",
    )


def _chips(query: Mapping[str, str], asked: Asked) -> Element:
    """The tokens: behind one of them stands what is explained."""
    fields = {name: query[name] for name in ("nodes", "edit", "without") if name in query}
    links = [
        html.A(
            token_shown(piece),
            href=circuit_link(fields, text=asked.whole.text, at=at),
            className="chip" + (" chosen" if at == asked.at else ""),
            **aria(label=f"token {at}: {visible(piece)}", current="true" if at == asked.at else None),
        )
        for at, piece in enumerate(asked.whole.shown, start=1)
    ]
    said = html.P(
        "The circuit explains what comes after the token that is marked; choose another one.", className="note"
    )
    return html.Div([said, html.Div(links, className="chips")], className="circuit-tokens")


def _edit(query: Mapping[str, str], asked: Asked) -> Element | None:
    if not asked.edit:
        return None
    kept = {name: query[name] for name in ("text", "edit", "without", "at") if name in query}
    return html.P(
        ["The model is under the edit ", html.Code(str(asked.edit)), ". ", html.A("Change it", href=prompt_link(kept))],
        className="note",
    )


def register(app: Dash, ctx: Context) -> None:
    """The button puts the form into the address; the fields offer the likeliest tokens once these are known."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("circuit-text", "error"),
        Output("circuit-target", "error"),
        Output("circuit-minus", "error"),
        Input("circuit-run", "n_clicks"),
        State("circuit-text", "value"),
        State("circuit-target", "value"),
        State("circuit-minus", "value"),
        State("circuit-size", "value"),
        State("circuit-query", "data"),
        prevent_initial_call=True,
    )
    def run(clicks: int, text: str, target: str, minus: str, size: str, query: dict[str, str]) -> tuple[Any, ...]:
        if not clicks:
            return (no_update,) * 4
        errors: list[str | None] = [None if text else "There is no text; type one."]
        chosen: list[int | None] = []
        for shown in (target, minus):
            try:
                chosen.append(read_token(ctx.tokenizer(), shown) if shown else None)
                errors.append(None)
            except WorkbenchError as error:
                errors.append(told_plainly(str(error)))
        if any(errors):
            return no_update, *errors
        fields: dict[str, str] = {name: query[name] for name in ("edit", "without") if name in query}
        if text == query.get("text") and "at" in query:
            fields["at"] = query["at"]
        asked = {"target": chosen[0], "minus": chosen[1], "nodes": None if int(size) == NODES else size}
        return prompt_search(fields, text=text, **asked), None, None, None

    @app.callback(
        Output("circuit-target", "data"),
        Output("circuit-minus", "data"),
        Input("circuit-drawn", "data"),
        State("circuit-query", "data"),
        prevent_initial_call=True,
    )
    def offer(_: Any, query: dict[str, str]) -> tuple[list[str], list[str]]:
        asked = read_asked(ctx, query)
        likely = list(dict.fromkeys(typed(asked, token) for token, _, _ in find(ctx, asked).likeliest))
        return likely, likely
