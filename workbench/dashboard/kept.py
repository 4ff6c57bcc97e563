"""The panel of an expert's page where people keep what they found: bookmark, lists, tags, notes; and its embed code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output, State, no_update
from dash import ctx as called

from ..errors import WorkbenchError
from ..notes.database import BOOKMARKS
from ..store.address import Expert, read_expert
from ..store.token_text import visible_label, visible_prose
from .act import act_button, act_store
from .elements import Element, dcc, dmc, html
from .embed import embed_code
from .freeze import freeze
from .links import list_link, lists_link
from .parts import aria, panel

if TYPE_CHECKING:
    from .context import Context

_STAR, _STARRED = "☆ Bookmark", "★ Bookmarked"


def kept_panel(ctx: Context, expert: Expert) -> Element:
    """The panel of an expert.

    Raises:
        DamagedError: the file of the notes is damaged.
        UnsupportedError: it is of another version or model, or the run is on another machine.
    """
    with ctx.notes.reading():
        return _kept_panel(ctx, expert)


def _kept_panel(ctx: Context, expert: Expert) -> Element:
    inside, tags = ctx.notes.lists_of(*expert), ctx.notes.tags(*expert)
    starred = BOOKMARKS in inside
    star = dmc.Button(
        _STARRED if starred else _STAR, id="kept-star", variant="filled" if starred else "default", size="xs"
    )
    name = dmc.Autocomplete(
        id="kept-list",
        data=ctx.notes.list_names(),
        label="Add to a list",
        placeholder="a list, or a name for a new one",
        className="kept-wide",
    )
    labels = dmc.TagsInput(
        id="kept-tags",
        value=tags,
        data=ctx.notes.tag_names(),
        label="Tags",
        placeholder="type a tag, then Enter",
    )
    marks = html.Div(
        [
            star,
            html.Div([name, dmc.Button("Add", id="kept-list-add", variant="default")], className="kept-row"),
            dcc.Loading(dmc.Box(_lists(inside), id="kept-lists", **aria(live="polite")), delay_show=200),
            labels,
        ],
        className="kept-marks",
    )
    written = html.Div(
        [
            dcc.Loading(dmc.Box(_notes(ctx, expert), id="kept-notes", **aria(live="polite")), delay_show=200),
            dmc.Textarea(id="kept-text", label="New note", autosize=True, minRows=2, maxRows=10),
            html.Div(
                [
                    dmc.TextInput(id="kept-author", label="Author", placeholder="optional", persistence="monet", w=180),
                    dmc.Button("Add note", id="kept-add"),
                ],
                className="kept-row",
            ),
        ]
    )
    stores = [
        dcc.Store(id="kept-expert", data=str(expert)),
        dcc.Store(id="kept-tags-shown", data=tags),
        act_store("kept-act"),
    ]
    body = [html.Div([marks, written], className="kept"), _embed(ctx, expert), *stores]
    return panel(
        "Notes", body, note=["Kept beside the run. See all ", html.A("lists and notes", href=lists_link()), "."]
    )


def _lists(inside: list[str]) -> Element | None:
    """The lists that an expert is in, each with a button that takes it out."""
    parts: list[Any] = []
    for name in inside:
        if name != BOOKMARKS:
            shown = visible_label(name)
            leave = act_button("×", "kept-act", f"remove from the list {shown}", leave=name)
            parts.append(html.Span([html.A(html.Bdi(shown), href=list_link(name)), leave], className="kept-chip"))
    return html.P(["In ", *parts], className="kept-lists") if parts else None


def note_text(text: str) -> Element:
    """A note as it was written, line breaks and all; what would hide or reverse text is escaped."""
    return html.P(visible_prose(text), className="kept-text")


def _notes(ctx: Context, expert: Expert, edited: int | None = None) -> Element:
    """The notes of an expert; in place of the one of the id ``edited``, a form that changes it."""
    if not ctx.notes.has_notes(*expert):  # sooner told than by a table of none
        return html.P("No notes yet.", className="note")
    return html.Ul(
        [
            html.Li(_note_form(note) if note.id == edited else _note(note))
            for note in ctx.notes.notes_of(*expert).itertuples(index=False)
        ],
        className="kept-notes",
    )


def _note(note: Any) -> list[Any]:
    """A note as it is read; ``note`` is a row of ``Notes.notes_of``."""
    written = [html.Bdi(note.author), ", " if note.author else "", f"{note.time:%Y-%m-%d %H:%M} UTC"]
    acts = [
        act_button("Edit", "kept-act", "edit this note", edit=note.id),
        act_button("Delete", "kept-act", "delete this note", delete=note.id),
    ]
    return [note_text(note.text), html.Div([html.Span(written), *acts], className="kept-by")]


def _note_form(note: Any) -> list[Any]:
    """A note as it is changed."""
    return [
        dmc.Textarea(id="kept-note-text", value=note.text, label="Note", autosize=True, minRows=2, maxRows=10),
        html.Div(
            [
                dmc.Button("Save", id="kept-note-save", size="xs"),
                act_button("Cancel", "kept-act", "leave this note as it was", edit=None),
            ],
            className="kept-by",
        ),
        dcc.Store(id="kept-note-known", data={"id": note.id, "text": note.text}),
    ]


def _embed(ctx: Context, expert: Expert) -> Element:
    code = embed_code(expert)
    hosts = ", ".join(ctx.embed_hosts)
    who = f"Pages of {hosts} may show it." if hosts else "Only pages of this site may show it, until the server is"
    return html.Details(
        [
            html.Summary("Embed a card of this expert"),
            html.Div(
                [
                    dmc.Textarea(
                        value=code, readOnly=True, label="Embed code", autosize=True, className="kept-code kept-wide"
                    ),
                    dmc.CopyButton("Copy", value=code, copiedChildren="Copied"),
                ],
                className="kept-row",
            ),
            html.P(
                who if hosts else [who, " started with ", html.Code("--embed-host HOST", className="command"), "."],
                className="note",
            ),
        ]
    )


def register(app: Dash, ctx: Context) -> None:
    """What the panel does."""

    def expert_of(text: str) -> Expert:
        return read_expert(text, ctx.run.groups, ctx.run.num_keys)

    @app.callback(
        Output("kept-star", "children"),
        Output("kept-star", "variant"),
        Output("kept-lists", "children"),
        Output("kept-list", "value"),
        Output("kept-list", "data"),
        Output("kept-list", "error"),
        Input("kept-star", "n_clicks"),
        Input("kept-list-add", "n_clicks"),
        Input("kept-act", "data"),
        State("kept-star", "children"),
        State("kept-list", "value"),
        State("kept-expert", "data"),
        prevent_initial_call=True,
    )
    def lists(_: int, __: int, act: dict[str, Any] | None, star: str, name: str | None, shown: str) -> tuple[Any, ...]:
        expert, left, error = expert_of(shown), "", None
        try:
            if called.triggered_id == "kept-star":
                keep = ctx.notes.add_to_list if star == _STAR else ctx.notes.remove_from_list
                keep(BOOKMARKS, *expert)
            elif called.triggered_id == "kept-act" and act and "leave" in act:
                ctx.notes.remove_from_list(act["leave"], *expert)
            elif called.triggered_id == "kept-list-add":
                keep_in_list(ctx, name or "", [expert])
            else:
                return (no_update,) * 6
        except WorkbenchError as problem:
            left, error = name or "", str(problem)
        inside = ctx.notes.lists_of(*expert)
        starred = BOOKMARKS in inside
        return (
            _STARRED if starred else _STAR,
            "filled" if starred else "default",
            freeze(_lists(inside)),
            left,
            ctx.notes.list_names(),
            error,
        )

    @app.callback(
        Output("kept-tags", "value"),
        Output("kept-tags", "error"),
        Output("kept-tags-shown", "data"),
        Input("kept-tags", "value"),
        State("kept-tags-shown", "data"),
        State("kept-expert", "data"),
        prevent_initial_call=True,
    )
    def tags(wanted: list[str] | None, known: list[str], shown: str) -> tuple[Any, ...]:
        expert, error = expert_of(shown), None
        if set(wanted or []) == set(known):
            return (no_update,) * 3
        try:
            for tag in set(known) - set(wanted or []):
                ctx.notes.untag(*expert, tag)
            for tag in set(wanted or []) - set(known):
                ctx.notes.tag(*expert, tag)
        except WorkbenchError as problem:
            error = str(problem)
        kept = ctx.notes.tags(*expert)
        return kept, error, kept

    @app.callback(
        Output("kept-notes", "children"),
        Output("kept-text", "value"),
        Output("kept-text", "error"),
        Input("kept-add", "n_clicks"),
        Input("kept-act", "data"),
        State("kept-text", "value"),
        State("kept-author", "value"),
        State("kept-expert", "data"),
        prevent_initial_call=True,
    )
    def notes(
        _: int, act: dict[str, Any] | None, text: str | None, author: str | None, shown: str
    ) -> tuple[Any, Any, Any]:
        left: Any = no_update
        expert, error = expert_of(shown), None
        try:
            if called.triggered_id == "kept-add":
                ctx.notes.add_note(*expert, text or "", author or "")
                left = ""
            elif act and "delete" in act:
                ctx.notes.delete_note(act["delete"])
            elif not act or "edit" not in act:
                return no_update, no_update, no_update
        except WorkbenchError as problem:
            error = str(problem)
        edited = act["edit"] if error is None and called.triggered_id == "kept-act" and act and "edit" in act else None
        return freeze(_notes(ctx, expert, edited)), left, error

    @app.callback(
        Output("kept-notes", "children", allow_duplicate=True),
        Output("kept-note-text", "error"),
        Input("kept-note-save", "n_clicks"),
        State("kept-note-text", "value"),
        State("kept-note-known", "data"),
        State("kept-expert", "data"),
        prevent_initial_call=True,
    )
    def change(clicks: int | None, text: str | None, known: dict[str, Any], shown: str) -> tuple[Any, Any]:
        if not clicks:
            return no_update, no_update
        try:
            ctx.notes.change_note(known["id"], text or "", known["text"])
        except WorkbenchError as problem:
            return no_update, str(problem)
        return freeze(_notes(ctx, expert_of(shown))), no_update


def keep_in_list(ctx: Context, name: str, experts: list[Expert]) -> str:
    """Put experts into a list, which is made if there is none of that name; returns its name as it is kept.

    Raises:
        BadInputError: the name cannot be kept, or the list would have too many experts.
        NotFoundError: the run has no such expert, or the list was deleted meanwhile.
    """
    name = name.strip()
    if name not in set(ctx.notes.lists()["name"]):
        return ctx.notes.create_list(name, experts=experts)
    ctx.notes.extend_list(name, experts)
    return name
