"""One list: its experts in order, with their top tokens, tags and notes; to be changed, exported and shared."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, no_update
from dash import ctx as called

from ...errors import NotFoundError, WorkbenchError
from ...notes.database import BOOKMARKS
from ...store.address import Expert
from ...store.token_text import visible_label
from ..act import act_button, act_store
from ..comparing.forms import EXPERTS
from ..context import Context
from ..elements import Element, dcc, dmc, html
from ..freeze import freeze
from ..kept import note_text
from ..links import (
    LIST_PATH,
    Address,
    compare_link,
    edit_link,
    list_file,
    list_link,
    lists_link,
    overview_link,
    shared_list_link,
)
from ..listed import expert_table, page_links, read_experts, shown_page
from ..page import Page
from ..parts import aria, files, message, panel, told_plainly

LONGEST_EDIT = 200  # experts that a link leaves out of a prompt: its address names each


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        NotFoundError: there is no such list.
        DamagedError, UnsupportedError: the file of the notes cannot be used.
    """
    (name,) = address.parts
    experts, description = ctx.notes.list_experts(name), ctx.notes.description(name)
    page = shown_page(address.query.get("page", ""), len(experts))
    add = [
        dmc.TextInput(id="list-experts", label="Add experts", placeholder="0:17, 1:5", className="kept-wide"),
        dmc.Button("Add", id="list-add", variant="default"),
    ]
    return [
        html.H1([html.Bdi(visible_label(name)), html.Small("List of experts")]),
        dmc.Box(_described(description), id="list-described", **aria(live="polite")),
        html.Div(
            [html.A("← All lists and notes", href=lists_link()), files("Export", lambda kind: list_file(name, kind))],
            className="expert-nav",
        ),
        panel(
            "Experts",
            [
                dcc.Loading(
                    dmc.Box(_shown(ctx, name, page), id="list-shown", **aria(live="polite")),
                    delay_show=200,
                ),
                html.Div(add, className="kept-row"),
                act_store("list-act"),
                dcc.Store(id="list-here", data={"name": name, "page": page}),
            ],
        ),
        panel("Change the list", [_description_form(description), *([] if name == BOOKMARKS else _change(name))]),
    ]


def _described(description: str) -> Element | None:
    return note_text(description) if description else None


def _description_form(description: str) -> Element:
    return html.Div(
        [
            dmc.Textarea(
                id="list-description",
                label="Description",
                value=description,
                autosize=True,
                minRows=1,
                maxRows=8,
                className="kept-wide",
            ),
            dmc.Button("Save description", id="list-describe", variant="default"),
            dcc.Store(id="list-description-known", data=description),
        ],
        className="kept-row",
    )


def _change(name: str) -> list[Any]:
    return [
        html.Div(
            [
                dmc.TextInput(id="list-name", label="Name", value=name, className="kept-wide"),
                dmc.Button("Rename", id="list-rename", variant="default"),
                dmc.Button("Delete list", id="list-delete", variant="outline", color="red"),
            ],
            className="kept-row",
        ),
        dcc.ConfirmDialog(
            id="list-confirm",
            message="Delete this list? Notes and tags of its experts stay. This cannot be undone.",
        ),
    ]


def _shown(ctx: Context, name: str, page: int) -> list[Any]:
    """The experts of a page of the list, with buttons, and links that depend on what the list holds."""
    experts = ctx.notes.list_experts(name)
    if not experts:
        return [
            message(
                "The list is empty",
                html.Span(
                    [
                        "Add experts below, or on their pages. ",
                        html.A("Browse the active experts", href=overview_link()),
                    ]
                ),
            )
        ]
    page = shown_page(f"{page}", len(experts))
    edit = ", ".join(f"{expert}=0" for expert in experts[:LONGEST_EDIT])
    without = (
        "Try a prompt without them"
        if len(experts) <= LONGEST_EDIT
        else f"Try a prompt without the first {LONGEST_EDIT}"
    )

    def buttons(expert: Expert, place: int) -> list[Any]:
        def act(text: str, what: str, label: str) -> Element:
            return act_button(text, "list-act", f"{label} {expert}", act=what, expert=str(expert))

        return [
            act("↑", "up", "move up") if place else None,
            act("↓", "down", "move down") if place + 1 < len(experts) else None,
            act("×", "remove", "remove"),
        ]

    return [
        html.P(
            [
                html.Span(f"{len(experts):,} expert{'s' if len(experts) != 1 else ''}"),
                html.A("Link that holds this list", href=shared_list_link(name, experts)),
                html.A(without, href=edit_link({"edit": edit})),
                _comparison(experts),
            ],
            className="bar-of-links",
        ),
        page_links(page, len(experts), lambda other: list_link(name, other)),
        expert_table(ctx, experts, page, buttons),
    ]


def _comparison(experts: list[Expert]) -> Element | None:
    """A link that puts the first experts of the list beside each other; None for a list of one."""
    if len(experts) < 2:
        return None
    first = experts[: len(EXPERTS)]
    which = "them" if len(first) == len(experts) else f"the first {len(first)}"
    return html.A(f"Compare {which}", href=compare_link(**dict(zip(EXPERTS, map(str, first), strict=False))))


def register(app: Dash, ctx: Context) -> None:
    """Moving, removing and adding experts; describing, renaming and deleting the list."""

    @app.callback(
        Output("list-shown", "children"),
        Output("list-experts", "value"),
        Output("list-experts", "error"),
        Input("list-act", "data"),
        Input("list-add", "n_clicks"),
        State("list-experts", "value"),
        State("list-here", "data"),
        prevent_initial_call=True,
    )
    def change(
        act: dict[str, Any] | None, _: int, text: str | None, here: dict[str, Any]
    ) -> tuple[Any, Any, str | None]:
        left: Any = no_update
        error = None
        try:
            if called.triggered_id == "list-add":
                ctx.notes.extend_list(here["name"], read_experts(ctx, text or ""))
                left = ""
            elif act:
                _act(ctx, here["name"], act)
            else:
                return no_update, no_update, None
        except WorkbenchError as problem:
            error = str(problem)
        return freeze(_shown(ctx, here["name"], here["page"])), left, error

    @app.callback(
        Output("list-described", "children"),
        Output("list-description", "value"),
        Output("list-description", "error"),
        Output("list-description-known", "data"),
        Input("list-describe", "n_clicks"),
        State("list-description", "value"),
        State("list-description-known", "data"),
        State("list-here", "data"),
        prevent_initial_call=True,
    )
    def describe(clicks: int | None, text: str | None, known: str, here: dict[str, Any]) -> tuple[Any, ...]:
        if not clicks:
            return (no_update,) * 4
        try:
            kept = ctx.notes.describe(here["name"], text or "", known)
        except WorkbenchError as error:
            return no_update, no_update, told_plainly(str(error)), no_update
        return freeze(_described(kept)), kept, None, kept

    @app.callback(
        Output("url", "pathname", allow_duplicate=True),
        Output("list-name", "error"),
        Input("list-rename", "n_clicks"),
        Input("list-confirm", "submit_n_clicks"),
        State("list-name", "value"),
        State("list-here", "data"),
        prevent_initial_call=True,
    )
    def rename_or_delete(
        renames: int | None, deletes: int | None, new: str | None, here: dict[str, Any]
    ) -> tuple[Any, str | None]:
        try:
            if called.triggered_id == "list-rename" and renames:
                return list_link(ctx.notes.rename(here["name"], new or "")), None
            if called.triggered_id == "list-confirm" and deletes:
                ctx.notes.delete_list(here["name"])
                return lists_link(), None
        except WorkbenchError as error:
            return no_update, told_plainly(str(error))
        return no_update, None

    @app.callback(Output("list-confirm", "displayed"), Input("list-delete", "n_clicks"), prevent_initial_call=True)
    def ask(clicks: int | None) -> bool:
        return bool(clicks)


def _act(ctx: Context, name: str, act: dict[str, Any]) -> None:
    """Do what a button of a row says."""
    (expert,) = read_experts(ctx, act["expert"])
    if act["act"] == "remove":
        ctx.notes.remove_from_list(name, *expert)
        return
    experts = ctx.notes.list_experts(name)
    if expert not in experts:
        raise NotFoundError(f"expert {expert} is no longer in the list.")
    step = -1 if act["act"] == "up" else 1
    ctx.notes.move(name, *expert, max(0, experts.index(expert) + step))


def _title(ctx: Context, address: Address) -> str:
    return f"List {visible_label(address.parts[0])}"


PAGE = Page("list", LIST_PATH, _title, layout, register=register)
