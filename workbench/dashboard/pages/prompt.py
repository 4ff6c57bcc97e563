"""The prompt page: a text's tokens, the attribution of any next token, what an edit changes, and what is written then.

The address holds all of it. A change of the address while the page is open updates its parts where they are; they are
in ``workbench.dashboard.prompting``.
"""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, no_update

from ...analysis.attribution.prompt import read_token
from ...errors import WorkbenchError
from ..context import Context
from ..elements import dcc, dmc, html
from ..freeze import freeze
from ..links import PROMPT_PATH, Address, prompt_search, read_query
from ..page import Page
from ..parts import aria, message, panel, told_plainly
from ..prompting import editing, generating, saved
from ..prompting.answer import prompt_limit, read_answer
from ..prompting.draw import answer
from ..prompting.samples import samples
from ..prompting.several import several_answer


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; a callback fills in the answer, as the first one loads the model."""
    ctx.prepare_model()
    query = address.query
    text = dmc.Textarea(
        id="prompt-text",
        value=query.get("text", ""),
        minRows=3,
        maxRows=12,
        autosize=True,
        spellCheck=False,
        label=f"Text for the model, up to {prompt_limit(ctx)}",
        className="prompt-text",
    )
    several = dmc.Switch(
        id="prompt-several",
        checked="several" in query,
        label="Several prompts: one per line, or with lines of --- between",
    )
    chat = dmc.Switch(
        id="prompt-chat",
        checked="chat" in query,
        label="Put the text into the tokenizer's chat template",
        display=None if ctx.chats or "chat" in query else "none",
    )
    run = html.Div(
        [dmc.Button("Run", id="prompt-run", n_clicks=0), html.Span("Ctrl+Enter", className="note"), several, chat],
        className="prompt-fields",
    )
    return [
        html.H1("Try a prompt"),
        panel(
            "Prompt",
            [text, run, dcc.Loading(dmc.Box(id="prompt-samples"), delay_show=200)],
            note="The model reads the text exactly as typed. The page's address holds text and edit, for sharing.",
        ),
        editing.edit_panel(ctx, query, saved.saved_row(ctx)),
        dcc.Store(id="prompt-query", data=query),
        dcc.Store(id="prompt-synced", data=query),
        dcc.Loading(
            dmc.Box(id="prompt-answer", **aria(live="polite")),
            delay_show=200,
            overlay_style={"visibility": "visible", "opacity": 0.5},
        ),
        generating.generate_panel(query),
    ]


def register(app: Dash, ctx: Context) -> None:
    """The button puts the prompt in the address; what the address holds is run and shown."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("prompt-answer", "children", allow_duplicate=True),
        Input("prompt-run", "n_clicks"),
        State("url", "search"),
        State("prompt-text", "value"),
        State("prompt-edit", "value"),
        State("prompt-several", "checked"),
        State("prompt-chat", "checked"),
        prevent_initial_call=True,
    )
    def run(clicks: int, search: str, text: str | None, edit: str | None, several: bool, chat: bool) -> tuple[Any, Any]:
        if not clicks:
            return no_update, no_update
        query = read_query(search)
        kept = {name: value for name, value in query.items() if name not in ("several", "chat")}
        try:
            fields = editing.with_edit(ctx, kept, text or "", (edit or "").strip())
        except WorkbenchError as error:
            return no_update, _refused(error)
        if not text:
            return no_update, _read(ctx, fields | {"text": ""})
        wanted = fields | ({"several": "1"} if several else {}) | ({"chat": "1"} if chat else {})
        if wanted == query:  # the address stays, so nothing else would run it again
            return no_update, _read(ctx, wanted)
        return prompt_search(wanted), no_update

    @app.callback(Output("prompt-samples", "children"), Input("prompt-query", "data"))
    def offer(query: dict[str, str]) -> Any:
        return None if "text" in query else freeze(samples(ctx))

    @app.callback(Output("prompt-answer", "children"), Input("prompt-query", "data"))
    def show(query: dict[str, str]) -> Any:
        return _read(ctx, query) if "text" in query else None

    @app.callback(
        Output("edit-rows", "children"),
        Output("prompt-edit", "value"),
        Output("edit-file", "children"),
        Output("edit-shown", "data"),
        Output("prompt-text", "value"),
        Output("prompt-several", "checked"),
        Output("prompt-chat", "checked"),
        Output("prompt-synced", "data"),
        Input("prompt-query", "data"),
        State("prompt-synced", "data"),
        State("edit-shown", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def follow(query: dict[str, str], synced: dict[str, str], shown: str, search: str) -> tuple[Any, ...]:
        """The form follows the address; a text that was typed and not run yet stays."""
        if query != read_query(search):  # the address has changed again, and is followed when its turn comes
            return (no_update,) * 8
        text = query.get("text", "")
        same_text = text == synced.get("text", "")
        return (
            *editing.followed(ctx, query, synced, shown),
            no_update if same_text else text,
            "several" in query,
            "chat" in query,
            query,
        )

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("target-text", "error"),
        Output("minus-text", "error"),
        Input("target-run", "n_clicks"),
        Input("target-text", "n_submit"),
        Input("minus-text", "n_submit"),
        State("target-text", "value"),
        State("minus-text", "value"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def explain(
        clicks: int, enter: int | None, enter_minus: int | None, target: str, minus: str, search: str
    ) -> tuple[Any, ...]:
        if not (clicks or enter or enter_minus):
            return no_update, no_update, no_update
        chosen: list[Any] = []
        errors: list[str | None] = []
        for text in (target, minus):
            try:
                chosen.append(read_token(ctx.tokenizer(), text) if text else None)
                errors.append(None)
            except WorkbenchError as error:
                errors.append(told_plainly(str(error)))
        if any(errors):
            return no_update, *errors
        return prompt_search(read_query(search), target=chosen[0], minus=chosen[1]), None, None

    editing.register(app, ctx)
    saved.register(app, ctx)
    generating.register(app, ctx)


def _read(ctx: Context, query: dict[str, str]) -> Any:
    try:
        return freeze(several_answer(ctx, query) if "several" in query else answer(ctx, read_answer(ctx, query)))
    except WorkbenchError as error:
        return _refused(error)


def _refused(error: WorkbenchError) -> Any:
    return message("The prompt was not run", str(error), "error")


PAGE = Page("prompt", PROMPT_PATH, "Prompt", layout, navigation="Prompt", register=register, follows="prompt-query")
