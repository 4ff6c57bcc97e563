"""Experts of a list as a table, and lists that an address holds by content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import BadInputError
from ..notes.lists import MOST_EXPERTS
from ..report.list import listed_experts
from ..report.numbers import score_text
from ..store.address import Expert, check_groups_given, read_expert
from ..store.token_text import visible_label
from .elements import Element, html
from .kept import note_text
from .links import expert_link, tag_link
from .paging import read_page
from .parts import label_mark, table, tabs, term, token_shown

if TYPE_CHECKING:
    from .context import Context

ROWS = 50  # of a page: the tokens of each are read anew
NOTES = 3  # of an expert, in the table


def read_experts(ctx: Context, text: str) -> list[Expert]:
    """The experts that a text names, ``group:id`` each, between commas, semicolons or blanks; repeated ones count once.

    Raises:
        BadInputError: one cannot be read or leaves out its group, or there are too many.
        NotFoundError: the run has no such group or expert.
    """
    check_groups_given(text, ctx.run.num_keys)
    names = [name for name in re.split(r"[,;\s]+", text) if name]
    if len(names) > MOST_EXPERTS:
        raise BadInputError(f"there are {len(names):,} experts; a list has at most {MOST_EXPERTS:,}.")
    return list(dict.fromkeys(read_expert(name, ctx.run.groups, ctx.run.num_keys) for name in names))


def experts_text(experts: Iterable[tuple[int, int]]) -> str:
    """Experts as ``read_experts`` reads them."""
    return ", ".join(f"{group}:{expert}" for group, expert in experts)


def shown_page(asked: str, count: int) -> int:
    """The page of a list that an address asks for, from 1, as far as the list has it; the first one for "".

    Raises:
        BadInputError: it asks for something that is no number.
    """
    return min(read_page(asked), max(1, -(-count // ROWS)))


def page_links(page: int, count: int, address: Callable[[int], str]) -> Element | None:
    """Links to the pages of a list; None where all of it is shown."""
    pages = range(1, -(-count // ROWS) + 1)
    return tabs("page", [(f"{at}", address(at), at == page) for at in pages], "page") if len(pages) > 1 else None


def tag_marks(tags: Iterable[str]) -> list[Element]:
    """Tags as links to the experts that have them."""
    return [html.A(visible_label(tag), href=tag_link(tag), className="kept-tag") for tag in tags]


def expert_table(
    ctx: Context, experts: list[Expert], page: int = 1, buttons: Callable[[Expert, int], list[Any]] | None = None
) -> Element:
    """A page of a list.

    Args:
        ctx: the run.
        experts: of the whole list.
        page: which of its pages, from 1.
        buttons: returns what an expert, at a place from 0, is given to act on it.
    """
    first = ROWS * (page - 1)
    items = ctx.notes.described(experts[first : first + ROWS])
    rows = [
        [f"{place + 1}", *_cells(ctx, row, items.iloc[place - first])]
        + ([html.Div(buttons(experts[place], place), className="kept-acts")] if buttons else [])
        for place, row in enumerate(listed_experts(ctx.run, items), start=first)
    ]
    head = ["place", "expert", "label", term("mass"), "top tokens", "tags and notes"]
    return html.Div(
        table(head + (["change"] if buttons else []), rows, "Experts of the list", numeric=9), className="kept-table"
    )


def _cells(ctx: Context, row: dict[str, Any], item: pd.Series) -> list[Any]:
    expert = Expert(row["group"], row["expert"])
    label = row["specialised"] or ""
    mark = label_mark(label, ctx.colour(label), ctx.kind(*expert)) if row["tokens"] else "never active"
    sure = html.Span(" confirmed", className="expert-label") if row["confirmed"] else None
    chips: list[Any] = [html.Span(token_shown(text), className="chip") for text in row["top_tokens"]]
    more = len(item["notes"]) - NOTES
    return [
        html.A(f"{expert}", href=expert_link(*expert)),
        html.Span([mark, sure]),
        score_text(row["mass"]),
        html.Div(chips, className="chips"),
        html.Div(
            [
                *tag_marks(item["tags"]),
                *map(note_text, item["notes"][-NOTES:]),
                html.P(f"and {more} more notes", className="note") if more > 0 else None,
            ]
        ),
    ]
