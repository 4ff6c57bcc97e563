"""Compare: experts, prompts, edits or runs beside each other. The address holds what is compared, for sharing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dash import Dash, Input, Output

from ...errors import BadInputError, NotFoundError, WorkbenchError, kind_of
from ...store.siblings import find_sibling
from ..comparing import forms, runs
from ..comparing.edits import edits_answer
from ..comparing.experts import examples_panel, experts_answer, promoted_panel, read_experts
from ..comparing.forms import Query
from ..comparing.prompts import prompts_answer
from ..context import Context
from ..elements import dcc, dmc, html
from ..failures import message_or
from ..freeze import freeze
from ..links import COMPARE_PATH, Address, compare_link
from ..page import Page
from ..parts import aria, message, panel, tabs, transcoded_note


class Kind(NamedTuple):
    """One kind of comparison.

    Attributes:
        name: what its tab says.
        fields: those of the address that ask for it.
        form: draws its form.
        note: what to fill in.
    """

    name: str
    fields: tuple[str, ...]
    form: Callable[[Context, Query], list[Any]]
    note: str


KINDS = {
    "experts": Kind("Experts", forms.EXPERTS, forms.experts_form, "Two to four experts, of any groups."),
    "runs": Kind(
        "Runs", ("run",), forms.runs_form, "Two models on one corpus, such as one before and after fine-tuning."
    ),
    "edits": Kind(
        "Edits",
        ("edit", "edit2"),
        forms.edits_form,
        "Two edits of experts on one text, as the page Prompt has them; an empty one changes nothing.",
    ),
    "prompts": Kind("Prompts", ("with", "text"), forms.prompts_form, "Two texts, read by the same model."),
}
SHOWN = ("experts", "prompts", "edits", "runs")  # the order of the tabs


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; callbacks fill in the answer, as it may take the model.

    Raises:
        NotFoundError: there is no such kind of comparison.
    """
    query, kind = address.query, _kind(address.query)
    if kind in ("prompts", "edits"):
        ctx.prepare_model()
    text = query.get("text")
    links = [
        (KINDS[name].name, compare_link(kind=name, text=text if name in ("prompts", "edits") else None), name == kind)
        for name in SHOWN
    ]
    known = KINDS[kind]
    drawn = [
        html.H1(["Compare", html.Small("Experts, prompts, edits or runs beside each other")]),
        tabs("what is compared", links),
        panel(known.name, known.form(ctx, query), note=known.note),
    ]
    if not any(query.get(name, "") for name in known.fields):
        return drawn
    waiting = [
        dcc.Store(id="compare-query", data=query),
        dcc.Loading(dmc.Box(id="compare-answer", **aria(live="polite")), delay_show=200),
    ]
    if kind == "runs":
        return [*drawn, *_divergence(ctx, query), *waiting]
    if kind == "experts":
        waiting.append(dcc.Loading(dmc.Box(id="compare-promoted"), delay_show=200))
        waiting.append(dcc.Loading(dmc.Box(id="compare-examples"), delay_show=200))
    return [*drawn, *waiting]


def _kind(query: Query) -> str:
    """The kind asked for, or that of the fields there are; experts by default."""
    asked = query.get("kind")
    if asked is None:
        return next((name for name, kind in KINDS.items() if any(field in query for field in kind.fields)), "experts")
    if asked not in KINDS:
        raise NotFoundError(f"there is no comparison of kind {asked!r:.80}; there are {', '.join(SHOWN)}.")
    return asked


def _divergence(ctx: Context, query: Query) -> list[Any]:
    """Drawn with the page, as a job's button and progress are part of it."""
    try:
        other = find_sibling(ctx.run, query["run"])
    except WorkbenchError:  # the answer says why
        return []
    note = transcoded_note(other.transcoded, query["run"])  # that of the run that is shown stands above every page
    return [*([note] if note else []), *message_or(runs.divergence_answer, ctx, other, query["run"])]


def register(app: Dash, ctx: Context) -> None:
    """The answer to the comparison in the address."""

    @app.callback(Output("compare-answer", "children"), Input("compare-query", "data"))
    def show(query: Query) -> Any:
        return answer(ctx, query)

    @app.callback(Output("compare-promoted", "children"), Input("compare-query", "data"))
    def promoted(query: Query) -> Any:
        return freeze(_part(ctx, query, promoted_panel, "No promoted tokens"))

    @app.callback(Output("compare-examples", "children"), Input("compare-query", "data"))
    def strongest(query: Query) -> Any:
        return freeze(_part(ctx, query, examples_panel, "No examples"))


def _part(ctx: Context, query: Query, draw: Callable[..., Any], title: str) -> Any:
    """A part of a comparison of experts; nothing where the address names none, which the answer says."""
    try:
        experts = read_experts(ctx, query)
    except WorkbenchError:
        return None
    try:
        return draw(ctx, experts)
    except WorkbenchError as error:
        return message(f"{title}: {kind_of(error).heading.lower()}", str(error), "warning")


def answer(ctx: Context, query: Query) -> Any:
    """What is compared, or a message that says why it cannot be."""
    try:
        return freeze(_drawn(ctx, query))
    except WorkbenchError as error:
        return message("Nothing was compared", str(error), "error")


def _drawn(ctx: Context, query: Query) -> Any:
    kind = _kind(query)
    if kind == "experts":
        return experts_answer(ctx, read_experts(ctx, query))
    if kind == "prompts":
        return prompts_answer(ctx, query)
    if kind == "edits":
        return edits_answer(ctx, query)
    order = query.get("sort", "mass")
    if order not in runs.ORDERS:
        raise BadInputError(f"experts cannot be sorted by {order!r:.80}; choose one of {', '.join(runs.ORDERS)}.")
    name = query.get("run", "")
    return runs.experts_answer(ctx, find_sibling(ctx.run, name), name, order)


PAGE = Page("compare", COMPARE_PATH, "Compare", layout, navigation="Compare", register=register)
