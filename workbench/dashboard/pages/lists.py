"""What people keep about the run: lists, notes, tags, saved edits and circuits; and lists that an address holds by
content."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from dash import Dash, Input, Output, State, no_update
from dash import ctx as called

from ...errors import BadInputError, NotFoundError, WorkbenchError
from ...report.labels import shortened
from ...store.address import Expert
from ...store.token_text import visible, visible_label
from ..act import act_button, act_store
from ..circuit.saved import fields_of
from ..context import Context
from ..elements import Element, Widget, dcc, dmc, html
from ..freeze import freeze
from ..kept import note_text
from ..links import (
    LISTS_PATH,
    Address,
    circuit_link,
    edit_link,
    expert_link,
    list_link,
    lists_link,
    shared_list_link,
    tag_link,
)
from ..listed import expert_table, experts_text, page_links, read_experts, shown_page
from ..page import Page
from ..parts import aria, message, panel, table, told_plainly

RECENT = 20  # notes
LONGEST_NOTE = 300  # characters of a note in the table
SUGGESTED = 4  # experts of each group


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page: of everything that is kept, of the experts with a tag, or of a list that the address holds.

    Raises:
        NotFoundError: the address names an expert that the run does not have.
        BadInputError: the address names something that is no expert, or too many.
        DamagedError, UnsupportedError: the file of the notes cannot be used.
    """
    query = address.query
    if "tag" in query:
        tag = query["tag"]
        return _unsaved(ctx, address, tag, ctx.notes.tagged(tag), f"Tag {visible_label(tag)}")
    if "experts" in query:
        name = query.get("name", "")
        return _unsaved(ctx, address, name, read_experts(ctx, query["experts"]), visible_label(name) or "A shared list")
    with ctx.notes.reading():
        return _everything(ctx)


def _everything(ctx: Context) -> list[Any]:
    lists, notes, tags = ctx.notes.lists(), ctx.notes.recent_notes(RECENT), ctx.notes.all_tags()
    rows = [
        [
            html.A(html.Bdi(visible_label(row.name)), href=list_link(row.name)),
            note_text(row.description),
            f"{row.experts:,}",
        ]
        for row in lists.itertuples(index=False)
    ]
    nothing = not lists["experts"].any() and all(
        kept.empty for kept in (notes, tags, ctx.notes.edits(), ctx.notes.circuits())
    )
    all_tags = [
        html.A(
            [html.Bdi(visible_label(row.tag)), html.Span(f"{row.experts:,}", className="count")],
            href=tag_link(row.tag),
            className="kept-tag",
        )
        for row in tags.itertuples(index=False)
    ]
    return [
        html.H1("Lists and notes"),
        _begin(ctx) if nothing else None,
        panel(
            "Lists",
            html.Div(table(["list", "description", "experts"], rows, "Lists", numeric=2), className="kept-table"),
        ),
        panel(
            "Recent notes",
            _recent(notes)
            if len(notes)
            else html.P("No notes yet: write them on the page of an expert.", className="note"),
        ),
        panel(
            "Tags",
            html.Ul([html.Li(tag) for tag in all_tags], className="legend")
            if all_tags
            else html.P("No tags yet: give them on the page of an expert.", className="note"),
        ),
        _new_list("New list", "", ""),
        _saved_edits(ctx),
        _saved_circuits(ctx),
    ]


def _begin(ctx: Context) -> Widget:
    """What to do while nothing is kept: experts worth a look, and how to keep them."""
    strong = _strong(ctx)
    links = [html.A(f"{expert}", href=expert_link(*expert)) for expert in strong]
    listed = [part for link in links for part in (link, ", ")][:-1]
    kind = "confirmed" if ctx.tested else "active"
    return message(
        "Nothing is kept yet",
        html.Span(
            [
                "Open an expert and use its Notes panel: bookmark it, tag it, write a note, add it to a list. "
                f"Some {kind} experts with much mass: ",
                *listed,
                ". Or ",
                html.A("open them as a list", href=shared_list_link(f"Strong {kind} experts", strong)),
                " and save it.",
            ]
        ),
    )


def _strong(ctx: Context) -> list[Expert]:
    """A few experts of each group with much mass: confirmed ones where some are."""
    found = []
    for group in ctx.run.groups:
        table = ctx.experts(group)
        chosen = table[table["confirmed"].astype(bool)] if table["confirmed"].any() else table
        found += [Expert(group, int(expert)) for expert in chosen["mass"].nlargest(SUGGESTED).index]
    return found


def _recent(notes: Any) -> Element:
    rows = [
        [
            html.A(f"{row.group}:{row.expert}", href=expert_link(row.group, row.expert)),
            note_text(shortened(row.text, LONGEST_NOTE)),
            html.Bdi(row.author),
            f"{row.time:%Y-%m-%d %H:%M} UTC",
        ]
        for row in notes.itertuples(index=False)
    ]
    return html.Div(
        table(["expert", "note", "author", "time"], rows, "Recent notes", numeric=9), className="kept-table"
    )


def _unsaved(ctx: Context, address: Address, name: str, experts: list[Expert], heading: str) -> list[Any]:
    """Experts that are no list yet, and a form to make them one."""
    noun = "expert" if len(experts) == 1 else "experts"
    title = html.H1([html.Bdi(heading), html.Small(f"{len(experts):,} {noun}, not saved as a list")])
    back = html.A("All lists and notes", href=lists_link())
    if not experts:
        return [title, message("No experts", "There is nothing to show here."), back]
    page = shown_page(address.query.get("page", ""), len(experts))

    def link(other: int) -> str:
        shown = tag_link(name) if "tag" in address.query else shared_list_link(name, experts)
        return f"{shown}&page={other}"

    return [
        title,
        html.P(back),
        panel("Experts", [page_links(page, len(experts), link), expert_table(ctx, experts, page)]),
        _new_list("Save as list", name, experts_text(experts)),
    ]


def _new_list(title: str, name: str, experts: str) -> Element:
    form = [
        dmc.TextInput(id="lists-name", label="Name", value=name, w=260),
        dmc.TextInput(id="lists-description", label="Description", placeholder="optional", className="kept-wide"),
        dmc.Textarea(
            id="lists-experts",
            label="Experts",
            placeholder="0:17, 1:5; or add them later",
            value=experts,
            autosize=True,
            minRows=1,
            maxRows=4,
            className="kept-wide",
        ),
        dmc.Button("Save as list" if experts else "Make list", id="lists-create"),
    ]
    return panel(title, html.Div(form, className="kept-row"))


def _saved_edits(ctx: Context) -> Element:
    factors = dmc.TextInput(
        id="edits-factors",
        label="Edit, as group:id=factor or label:NAME=factor",
        placeholder="0:17=0, label:lua=0.5",
        className="kept-wide",
    )
    form = [
        dmc.TextInput(id="edits-name", label="Name", w=260),
        factors,
        dmc.Button("Save edit", id="edits-save"),
    ]
    return panel(
        "Saved edits",
        [
            dcc.Loading(dmc.Box(_edits(ctx), id="edits-table", **aria(live="polite")), delay_show=200),
            html.Div(form, className="kept-row"),
            act_store("edits-act"),
        ],
        note="An edit scales or removes experts when a prompt is run.",
    )


def _edits(ctx: Context) -> Any:
    rows = []
    for edit in ctx.notes.edits().itertuples(index=False):
        shown = visible_label(edit.name)
        rows.append(
            [
                html.A(html.Bdi(shown), href=edit_link({"edit": edit.edit}), title="try it on a prompt"),
                note_text(shortened(edit.edit, LONGEST_NOTE)),
                act_button("Delete", "edits-act", f"delete the edit {shown}", name=edit.name),
            ]
        )
    if not rows:
        return html.P(
            "No edits yet: edit experts on the Prompt page and keep the edit there, or write one here.",
            className="note",
        )
    head = ["name", "edit", "change"]
    return html.Div(table(head, rows, "Saved edits", numeric=9), className="kept-table")


def _saved_circuits(ctx: Context) -> Element:
    return panel(
        "Saved circuits",
        [
            dcc.Loading(dmc.Box(_circuits(ctx), id="circuits-table", **aria(live="polite")), delay_show=200),
            act_store("circuits-act"),
        ],
        note="Thresholds, pins, folds and ablations are kept with a circuit.",
    )


def _circuits(ctx: Context) -> Any:
    rows = []
    for name, query in ctx.notes.circuits()[["name", "query"]].itertuples(index=False):
        shown, fields = visible_label(name), fields_of(query)
        rows.append(
            [
                html.A(html.Bdi(shown), href=circuit_link(fields), title="open it"),
                _prompt(fields),
                act_button("Delete", "circuits-act", f"delete the circuit {shown}", name=name),
            ]
        )
    if not rows:
        return html.P("No circuits yet: trace one on the Circuits page and save it there.", className="note")
    head = ["name", "prompt", "change"]
    return html.Div(table(head, rows, "Saved circuits", numeric=9), className="kept-table")


def _prompt(fields: dict[str, str]) -> Element:
    """What the model reads in a circuit; an address without a text is that of the sample."""
    if "text" not in fields:
        return html.Span("the sample prompt", className="note")
    return html.Code(shortened(visible(fields["text"]), LONGEST_NOTE), className="kept-prompt")


def register(app: Dash, ctx: Context) -> None:
    """Making lists, saving and deleting edits, deleting circuits."""

    @app.callback(
        Output("url", "pathname", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Output("lists-name", "error"),
        Output("lists-experts", "error"),
        Input("lists-create", "n_clicks"),
        State("lists-name", "value"),
        State("lists-description", "value"),
        State("lists-experts", "value"),
        prevent_initial_call=True,
    )
    def create(clicks: int | None, name: str | None, description: str | None, experts: str | None) -> tuple[Any, ...]:
        if not clicks:
            return (no_update,) * 4
        try:
            chosen = read_experts(ctx, experts or "")
        except WorkbenchError as error:
            return no_update, no_update, None, told_plainly(str(error))
        try:
            made = ctx.notes.create_list(name or "", description or "", chosen)
        except WorkbenchError as error:
            return no_update, no_update, told_plainly(str(error)), None
        return list_link(made), "", None, None

    @app.callback(
        Output("edits-table", "children"),
        Output("edits-name", "value"),
        Output("edits-name", "error"),
        Output("edits-factors", "error"),
        Input("edits-save", "n_clicks"),
        Input("edits-act", "data"),
        State("edits-name", "value"),
        State("edits-factors", "value"),
        prevent_initial_call=True,
    )
    def edits(_: int, act: dict[str, Any] | None, name: str | None, factors: str | None) -> tuple[Any, ...]:
        try:
            if called.triggered_id == "edits-save":
                ctx.notes.save_edit(name or "", factors or "")
            elif act:
                ctx.notes.delete_edit(act["name"])
            else:
                return (no_update,) * 4
        except BadInputError as error:
            return freeze(_edits(ctx)), no_update, told_plainly(str(error)), None
        except WorkbenchError as error:
            return freeze(_edits(ctx)), no_update, None, told_plainly(str(error))
        return freeze(_edits(ctx)), "", None, None

    @app.callback(Output("circuits-table", "children"), Input("circuits-act", "data"), prevent_initial_call=True)
    def forget(act: dict[str, Any] | None) -> Any:
        if act is None:
            return no_update
        with suppress(NotFoundError):  # another window deleted it
            ctx.notes.delete_circuit(act["name"])
        return freeze(_circuits(ctx))


PAGE = Page("lists", LISTS_PATH, "Lists", layout, navigation="Lists", register=register)
