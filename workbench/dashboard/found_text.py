"""The experts of a text that was typed in, as a panel of the search page: ranked, narrowed by density, lit by token."""

from __future__ import annotations

from math import log10
from typing import Any

import numpy as np
from dash import Dash, Input, Output, State, no_update

from ..errors import BadInputError
from ..report.numbers import score_text
from ..search import experts_of_text
from ..store.address import Expert
from .context import Context
from .elements import Element, dmc, html
from .found import EXPERTS, edit_these, expert_cells, experts_of, part_of, plural, shown_page
from .gather import GATHER, gather_bar
from .links import Address, search_link
from .paging import steps
from .parts import aria, panel, table, tabs, term, token_shown

RANKS = ("sum", "max", "frequency")
LEAST = -4  # power of ten of the slider's least density
STEPS = 4  # of the slider from one power of ten to the next


def text(ctx: Context, address: Address) -> list[Any]:
    """The experts of the text, as the model reads it now, a page of them.

    Raises:
        BadInputError: a choice makes no sense.
        WorkbenchError: as ``workbench.search.experts_of_text``.
    """
    query, by = address.query["q"], address.query.get("by", "sum")
    density = _density(address.query.get("density", "1"))
    page = shown_page(address, ctx.run.num_keys**2 * len(ctx.run.groups))
    read = experts_of_text(ctx.run, ctx.model(), query, by, density, EXPERTS * page + 1)  # type: ignore[arg-type]  # it refuses another
    listed, more = part_of(read.table, page)
    lines = []
    for row, scores in zip(listed.itertuples(index=False), read.scores[listed.index], strict=True):
        expert = Expert(int(row.group), int(row.expert))
        lit = " ".join(f"{at}:{scores[at]:.4g}" for at in np.flatnonzero(scores))
        lines.append(
            [
                *expert_cells(ctx, expert, **{"data-scores": lit}),
                score_text(row.sum),
                score_text(row.max),
                f"{row.frequency:,}",
                f"{100 * row.density:.2f} %",
            ]
        )

    def link(**changes: Any) -> str:
        chosen = {"by": by if by != "sum" else None, "density": None if density == 1 else f"{density:g}"}
        return search_link(query, "text", **chosen | changes)

    first = (by, density, page) == ("sum", 1, 1)
    head = ["expert", "label", "top tokens", "sum", "max", "tokens", term("density")]
    tokens = [_token(at, piece) for at, piece in enumerate(read.tokens)]
    return [
        html.Div(
            [
                panel(
                    f"{len(read.tokens):,} {plural(len(read.tokens), 'token')}",
                    html.Div(tokens, className="chips"),
                    note="Point at a token to light its experts, at an expert to light its tokens; the Tab key does "
                    "the same. A click on a token searches for the experts that fire on it.",
                ),
                panel(
                    "Experts of the text",
                    [
                        html.Div(
                            [
                                tabs("ranked by", [(name, link(by=name), name == by) for name in RANKS], "ranked by"),
                                _slider(density),
                            ],
                            className="bar-of-links",
                        ),
                        table(head, lines, "Experts of the text", numeric=3),
                        gather_bar(GATHER),
                        steps("experts", page, more, lambda at: link(page=at)),
                        edit_these(query, "text", None if first else experts_of(listed)) if lines else None,
                    ],
                    note=[
                        f"{EXPERTS} a page, of {read.total:,} experts that are active on the text. Sum and max are of "
                        "their scores over its tokens; tokens is how many of them they are active at; ",
                        term("density"),
                        " is of the corpus.",
                    ],
                ),
            ],
            className="search-lights",
        )
    ]


def _token(at: int, piece: str) -> Element:
    """A token of the text; part of a character cannot be searched for."""
    place: dict[str, Any] = {"data-token": f"{at}"}
    if "‹" in piece:
        return html.Span(token_shown(piece), className="chip", **place)
    return html.A(token_shown(piece), href=search_link(piece, "firing"), className="chip", **place)


def _density(asked: str) -> float:
    try:
        return float(asked)
    except ValueError as error:
        raise BadInputError(f"{asked!r} is no density; give a number above 0 and up to 1.") from error


def _slider(density: float) -> Element:
    """The highest density of the experts that are listed, from the least to all of them, by powers of ten."""
    said = f"active at no more than {100 * density:.3g} % of the corpus"
    slider = dmc.Slider(
        id="search-density",
        value=slider_place(density),
        min=LEAST,
        max=0,
        step=1 / STEPS,
        marks=[{"value": power, "label": f"{100 * 10.0**power:g} %"} for power in range(LEAST, 1)],
        label={"function": "shareOfPower"},
        thumbLabel="highest density",
        updatemode="mouseup",
        className="search-density",
    )
    return html.Div([html.Span(said, **aria(hidden="true")), slider])


def slider_place(density: float) -> float:
    """Where the slider stands for a density: the power of ten, at the nearest of its steps.

    Examples:
        >>> slider_place(0.1), slider_place(0.5), slider_place(1e-9)
        (-1.0, -0.25, -4.0)
    """
    return max(round(STEPS * log10(density)) / STEPS, float(LEAST))


def narrowed(query: dict[str, str], place: float) -> str | None:
    """The address of a search once its slider stands at ``place``; None where it does already.

    Examples:
        >>> narrowed({"q": "a b", "kind": "text", "page": "2"}, -1)
        '/search?q=a+b&kind=text&density=0.1'
    """
    if place == slider_place(_density(query.get("density", "1"))):
        return None
    density = None if place == 0 else f"{10**place:.3g}"
    return search_link(query["q"], "text", by=query.get("by"), density=density)


def register(app: Dash, ctx: Context) -> None:
    """The slider puts its density in the address."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Input("search-density", "value"),
        State("search-query", "data"),
        prevent_initial_call=True,
    )
    def narrow(place: float | None, query: dict[str, str]) -> Any:
        address = None if place is None else narrowed(query, place)  # None where it has just been drawn
        return no_update if address is None else "?" + address.partition("?")[2]
