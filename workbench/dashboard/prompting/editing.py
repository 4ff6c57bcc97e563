"""The edit of a prompt page as rows to change: a slider for each, ways to add one, and the text of all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State, no_update
from dash import ctx as called

from ...errors import BadInputError, WorkbenchError
from ...report.labels import shortened
from ...store.address import Expert, read_expert
from ...store.edit_places import TokenPlaces
from ...store.edit_text import MAX_FACTOR, EditRow, LabelExperts, PromptEdit, SearchExperts, TopExperts
from ...store.token_text import visible, visible_label
from ..context import Context
from ..edits import edited_experts, read_edit
from ..elements import Element, Widget, dcc, dmc, html
from ..freeze import freeze
from ..links import edit_file, expert_link, label_link, prompt_search, read_query, search_link
from ..parts import LONGEST_NAME, aria, message, panel
from .answer import check_characters

LEAST, MOST = -2.0, 4.0  # of the slider; the field beside it takes any factor that the model does
LISTED_ROWS = 40  # with a slider each; a longer edit is changed as text
_SEARCHED = {
    "firing": "that fire on it",
    "text": "of the text",
    "documents": "of documents",
    "explanations": "by explanation",
}
TOP = 10  # experts that are added unless another number is typed


def edit_panel(ctx: Context, query: Mapping[str, str], kept: Element) -> Any:
    """The rows of the edit, what adds one, the edit as text, and ``kept``, which is about saved edits."""
    label = dmc.MultiSelect(
        id="add-labels",
        data=[{"value": label, "label": visible_label(label)} for label in ctx.labels],
        label="Experts of labels",
        placeholder="labels" if ctx.analysed else "not analysed yet",
        disabled=not ctx.analysed,
        searchable=True,
        w=220,
    )
    ratio = dmc.NumberInput(id="add-ratio", label="ratio at least", min=0, placeholder="any", step=1, w=110)
    confirmed = dmc.Switch(id="add-confirmed", label="confirmed only", checked=False, disabled=not ctx.tested)
    expert = dmc.TextInput(
        id="add-expert", label="An expert", placeholder=f"{ctx.run.groups[0]}:{ctx.run.num_keys + 1}", w=120
    )
    top = dmc.NumberInput(id="add-top", label="Top experts", value=TOP, min=1, allowDecimal=False, w=110)
    at = dmc.NumberInput(id="add-at", label="at token", min=1, placeholder="all tokens", allowDecimal=False, w=110)
    asked = dmc.TextInput(id="add-query", label="Experts of a search", placeholder="text", w=150)
    kind = dmc.Select(
        id="add-kind",
        label="searched",
        data=[{"value": value, "label": said} for value, said in _SEARCHED.items()],
        value="firing",
        allowDeselect=False,
        w=160,
    )
    found = dmc.NumberInput(id="add-found", label="first", value=TOP, min=1, allowDecimal=False, w=80)
    return panel(
        "Edit",
        [
            dmc.Box(rows(ctx, query), id="edit-rows"),
            dcc.Store(id="edit-shown", data=_text(ctx, query)),
            dmc.Box(file_link(ctx, query), id="edit-file", mb="md"),
            html.Div(
                [
                    html.Div([expert, _add("add-expert-run", "add the expert")], className="prompt-fields"),
                    html.Div(
                        [label, ratio, confirmed, _add("add-labels-run", "add the experts of the labels")],
                        className="prompt-fields",
                    ),
                    html.Div([top, at, _add("add-top-run", "add the top experts")], className="prompt-fields"),
                    html.Div(
                        [asked, kind, found, _add("add-search-run", "add the experts of the search")],
                        className="prompt-fields",
                    ),
                ],
                className="prompt-adds",
            ),
            dmc.Box(id="edit-error", **aria(live="assertive")),
            dmc.Textarea(
                id="prompt-edit",
                value=_text(ctx, query),
                label="The edit as text: group:id=factor, label:NAME=factor, top:10=factor; 0 removes, 2 doubles; "
                "@3,5-9 behind it for some tokens only",
                placeholder=f"{ctx.run.groups[0]}:17=0, {ctx.run.groups[-1]}:{ctx.run.num_keys + 1}=2",
                autosize=True,
                minRows=1,
                maxRows=6,
                spellCheck=False,
                className="prompt-edit",
            ),
            kept,
        ],
        note="Outputs of experts are multiplied with a factor, at every token that the model reads and writes, or at "
        "some of them: 3,5-9 by their numbers, 12- from one on, last for the last one of the prompt, last- from it on. "
        "Where rows share an expert, its own row decides, and otherwise the later one.",
    )


def _add(name: str, title: str) -> Widget:
    return dmc.Button("Add", id=name, n_clicks=0, variant="default", **aria(label=title))


def _text(ctx: Context, query: Mapping[str, str]) -> str:
    """The edit as it is typed; what cannot be read stays as it is in the address."""
    try:
        return str(read_edit(query, ctx))
    except WorkbenchError:
        return query.get("edit", "")


def rows(ctx: Context, query: Mapping[str, str]) -> Any:
    """One row per set of experts: what it is, its factor as slider and number, and a link that drops it."""
    try:
        edit = read_edit(query, ctx)
    except WorkbenchError:
        return []  # the answer says what is wrong
    if not edit:
        return freeze(
            [html.P("Nothing is edited. Add experts here, or remove them in the answer below.", className="note")]
        )
    named = PromptEdit(tuple(row for row in edit.rows if isinstance(row.experts, LabelExperts)))
    counts = edited_experts(named, ctx)["row"].value_counts()
    sizes = {row.experts: int(counts.get(at, 0)) for at, row in enumerate(named.rows)}
    drawn: list[Any] = [_row(edit, at, sizes) for at in range(len(edit.rows[:LISTED_ROWS]))]
    more = len(edit.rows) - LISTED_ROWS
    if more > 0:
        drawn.append(html.P(f"And {more:,} more rows, in the text below.", className="note"))
    return freeze(drawn)


def file_link(ctx: Context, query: Mapping[str, str]) -> Any:
    """The link that downloads the edit; nothing where there is none, or it is one that a file cannot say."""
    try:
        edit = read_edit(query, ctx)
    except WorkbenchError:
        return []
    if not edit or not edit.holds_everywhere or (edit.reads_prompt and not query.get("text")):
        return []
    return freeze(html.A("Save as an edit file", href=edit_file(query), download="", className="button"))


def _row(edit: PromptEdit, at: int, sizes: Mapping[Any, int]) -> Element:
    row = edit.rows[at]
    what = row.experts
    words: Any
    if isinstance(what, Expert):
        words, said = html.A(f"expert {what}", href=expert_link(*what)), f"expert {what}"
    elif isinstance(what, LabelExperts):
        name = visible_label(what.label)
        rule = [f"{sizes[what]:,} experts"] + ["confirmed"] * what.confirmed
        rule += [f"ratio at least {what.ratio:g}"] * (what.ratio > 0)
        link = html.A(name, href=label_link(what.label))
        words, said = html.Span(["experts of ", link, f" ({', '.join(rule)})"]), f"experts of {name}"
    elif isinstance(what, SearchExperts):
        query = shortened(visible(what.query), LONGEST_NAME)
        said = f"top {what.n:,} experts of the search for {query}"
        link = html.A(query, href=search_link(what.query, what.kind))
        words = html.Span([f"top {what.n:,} experts of the search for ", link, f" ({_SEARCHED[what.kind]})"])
    else:
        said = f"top {what.n:,} experts " + (f"at token {what.at:,}" if what.at else "of the prompt")
        words = html.Span(said)
    return html.Div(
        [
            html.Div(words, className="edit-what"),
            dmc.Slider(
                id={"type": "edit-slider", "row": at},
                value=min(max(row.factor, LEAST), MOST),
                min=LEAST,
                max=MOST,
                step=0.1,
                marks=[{"value": value, "label": f"{value}"} for value in (-2, 0, 1, 2, 4)],
                thumbLabel=f"factor of {said}",
                updatemode="mouseup",
                className="edit-slider",
            ),
            dmc.NumberInput(
                id={"type": "edit-factor", "row": at},
                value=row.factor,
                min=-MAX_FACTOR,
                max=MAX_FACTOR,
                step=0.1,
                w=90,
                hideControls=True,
                debounce=True,  # timed, it would echo what the slider gave it over the slider's next value
                **aria(label=f"factor of {said}, as a number"),
            ),
            dmc.TextInput(
                id={"type": "edit-places", "row": at},
                value=_places(row),
                placeholder="all tokens",
                w=120,
                debounce=True,
                **aria(label=f"tokens at which the factor of {said} holds"),
            ),
            dmc.Button(
                "Drop",
                id={"type": "edit-drop", "row": at},
                n_clicks=0,
                variant="default",
                size="compact-sm",
                **aria(label=f"no longer edit {said}"),
            ),
        ],
        className="edit-row",
    )


def _places(row: EditRow) -> str:
    """The tokens of a row as they are typed."""
    return "" if row.places is None else str(row.places)


def followed(ctx: Context, query: Mapping[str, str], synced: Mapping[str, str], shown: str) -> tuple[Any, ...]:
    """The rows, text and file of an address's edit, each as it must be drawn now, and the edit that the rows then show.

    What is right already is ``no_update``. Rows that themselves wrote the edit into the address stay: redrawn, they
    would lose the focus, and a factor that was changed since.

    Args:
        ctx: the run.
        query: the fields of the address.
        synced: those that the form shows.
        shown: the edit that the rows were drawn from, or last wrote into the address.
    """
    if all(query.get(name) == synced.get(name) for name in ("text", "edit", "without")):
        return no_update, no_update, no_update, no_update
    text = _text(ctx, query)
    if text == shown:
        return no_update, text, file_link(ctx, query), no_update
    return rows(ctx, query), text, file_link(ctx, query), text


def with_edit(ctx: Context, query: Mapping[str, str], text: str | None, edit: str) -> dict[str, str]:
    """The fields of an address under another text or edit; another text has no token chosen.

    Raises:
        BadInputError: an address does not hold that much.
    """
    changed = {name: value for name, value in query.items() if name not in ("edit", "without")}
    if text is not None and text != query.get("text", ""):
        changed = {name: value for name, value in changed.items() if name not in ("at", "target", "minus")}
        changed["text"] = text
    if edit:
        changed["edit"] = edit
    check_characters(ctx, changed)
    return changed


def _added(ctx: Context, values: Mapping[str, Any]) -> list[EditRow]:
    """The rows that the pressed button adds.

    Raises:
        WorkbenchError: its fields hold no such experts.
    """
    if called.triggered_id in ("add-expert", "add-expert-run"):
        return [EditRow(read_expert(values["expert"] or "", ctx.run.groups, ctx.run.num_keys))]
    if called.triggered_id == "add-labels-run":
        if not values["labels"]:
            raise BadInputError("no label is chosen; choose at least one.")
        ratio = float(values["ratio"] or 0)
        return [EditRow(LabelExperts(label, bool(values["confirmed"]), ratio)) for label in values["labels"]]
    if called.triggered_id in ("add-query", "add-search-run"):
        if not (values["query"] or "").strip():
            raise BadInputError("there is nothing to search for; type a text.")
        return [EditRow(SearchExperts(values["kind"] or "firing", values["query"], int(values["found"] or TOP)))]
    if not values["top"]:
        raise BadInputError("there is no number of top experts; type one.")
    return [EditRow(TopExperts(int(values["top"]), int(values["at"] or 0)))]


def register(app: Dash, ctx: Context) -> None:
    """Sliders and buttons change the edit in the address; the address's edit is shown."""
    app.clientside_callback(
        ClientsideFunction("prompt", "sameFactor"),
        Output({"type": "edit-slider", "row": MATCH}, "value"),
        Output({"type": "edit-factor", "row": MATCH}, "value"),
        Input({"type": "edit-slider", "row": MATCH}, "value"),
        Input({"type": "edit-factor", "row": MATCH}, "value"),
        State({"type": "edit-slider", "row": MATCH}, "min"),
        State({"type": "edit-slider", "row": MATCH}, "max"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("edit-error", "children", allow_duplicate=True),
        Output("edit-shown", "data", allow_duplicate=True),
        Input({"type": "edit-factor", "row": ALL}, "value"),
        Input({"type": "edit-places", "row": ALL}, "value"),
        State("url", "search"),
        State("prompt-text", "value"),
        State("edit-shown", "data"),
        prevent_initial_call=True,
    )
    def change(
        factors: list[Any], places: list[str], search: str, text: str | None, shown: str
    ) -> tuple[Any, Any, Any]:
        try:
            edit = read_edit({"edit": shown}, ctx)
            typed = {at: float(value) for at, value in enumerate(factors) if isinstance(value, int | float)}
            changed = edit.scaled({at: value for at, value in typed.items() if math.isfinite(value)})
            held = {at: TokenPlaces.read(place) if place.strip() else None for at, place in enumerate(places)}
            changed = changed.placed(held)
            if len(factors) != len(edit.rows[:LISTED_ROWS]) or changed == edit:  # the rows were only drawn
                return no_update, no_update, no_update
            return prompt_search(with_edit(ctx, read_query(search), text or None, str(changed))), None, str(changed)
        except WorkbenchError as error:
            return no_update, message("The edit was not changed", str(error), "error"), no_update

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Input({"type": "edit-drop", "row": ALL}, "n_clicks"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def drop(clicks: list[int], search: str) -> Any:
        if not any(clicks):
            return no_update
        query = read_query(search)
        left = read_edit(query, ctx).without(called.triggered_id["row"])
        return prompt_search(with_edit(ctx, query, None, str(left)))

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("edit-error", "children", allow_duplicate=True),
        Output("add-expert", "value"),
        Output("add-labels", "value"),
        inputs={
            "_clicks": [Input(f"add-{kind}-run", "n_clicks") for kind in ("expert", "labels", "top", "search")],
            "_enter": [Input(f"add-{kind}", "n_submit") for kind in ("expert", "query")],
            "search": State("url", "search"),
            "text": State("prompt-text", "value"),
            "values": {
                name: State(f"add-{name}", "checked" if name == "confirmed" else "value")
                for name in ("expert", "labels", "ratio", "confirmed", "top", "at", "query", "kind", "found")
            },
        },
        prevent_initial_call=True,
    )
    def add(
        _clicks: list[int], _enter: list[int | None], search: str, text: str | None, values: dict[str, Any]
    ) -> tuple[Any, ...]:
        if not any(_clicks) and not any(_enter):
            return no_update, no_update, no_update, no_update
        query = read_query(search)
        try:
            edit = read_edit(query, ctx).plus(*_added(ctx, values))
            edited = prompt_search(with_edit(ctx, query, text or None, str(edit)))
        except WorkbenchError as error:
            return no_update, message("Nothing was added", str(error), "error"), no_update, no_update
        return edited, None, "", []
