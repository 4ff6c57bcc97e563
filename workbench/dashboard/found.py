"""What each kind of search found, as panels of the search page."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from ..errors import BadInputError
from ..explain import read_explanations
from ..report.label import top_tokens
from ..report.labels import shortened
from ..report.numbers import number, score_text
from ..search import (
    documents_matching,
    experts_at,
    explanations_matching,
    labels_matching,
    occurrences,
    read_pattern,
    strongest_experts,
)
from ..store.address import Expert
from ..store.edit_text import EditRow, PromptEdit, SearchExperts
from ..store.token_text import visible, visible_label
from .context import Context
from .elements import Element, html
from .explained import NUMERIC, cells, explain_first, heading, note
from .gather import GATHER, gather_bar, gather_box
from .links import Address, document_link, edit_link, expert_link, label_link, search_link
from .paging import read_page, steps
from .parts import (
    LONGEST_NAME,
    Child,
    label_mark,
    message,
    panel,
    source_mark,
    swatch,
    table,
    tabs,
    term,
    token_shown,
)
from .tables import GENERAL

EXPERTS, DOCUMENTS, EXPLANATIONS = 25, 20, 20  # listed on a page
PREVIEWED = 5  # top tokens shown per expert
STRONGEST = 3  # experts of a match in each group
LABELS = 6  # listed beside a count
EVERY = 10**9  # explanations


def firing(ctx: Context, address: Address) -> list[Any]:
    """The experts that fire on the text, a page of them.

    Raises:
        BadInputError: the group or page asked for is none.
        WorkbenchError: as ``workbench.search.experts_firing_on``.
    """
    query, asked = address.query["q"], address.query.get("group")
    groups = _groups(ctx, asked)
    rows = occurrences(ctx.run, query)
    if not len(rows):
        others: list[Child] = [
            "No tokens of this run spell it. Look for ",
            html.A("the experts of the text", href=search_link(query, "text")),
            " or for ",
            html.A("documents that hold it", href=search_link(query, "documents")),
            ". Case counts.",
        ]
        return [message("It does not occur", html.Span(others))]
    page = shown_page(address, ctx.run.num_keys**2 * len(groups))
    best, more = part_of(experts_at(ctx.run, rows, groups, EXPERTS * page + 1), page)
    lines = [
        [
            *expert_cells(ctx, Expert(int(row.group), int(row.expert))),
            f"{row.f1:.3f}",
            f"{100 * row.rate:.1f} %",
            f"{100 * row.precision:.1f} %",
            f"{row.tokens:,}",
            score_text(row.mean),
            score_text(row.max),
            score_text(row.sum),
        ]
        for row in best.itertuples(index=False)
    ]
    head = ["expert", "label", "top tokens", term("F1"), "rate", "precision", "tokens", "mean", "max", "sum"]
    choices = [("all", search_link(query, "firing"), asked is None)]
    choices += [(f"{g}", search_link(query, "firing", group=g), asked == f"{g}") for g in ctx.run.groups]
    docs = ctx.run.geometry.places(rows)[0]
    by_label = pd.Series(np.bincount(ctx.run.document_labels[docs], minlength=len(ctx.run.labels)), ctx.run.labels)
    told: list[Child] = [f"{len(rows):,} ", term("occurrence", plural(len(rows), "occurrence")), ": "]
    return [
        panel(
            "Experts that fire on it",
            [
                html.P([*told, *_by_label(ctx, query, by_label)], className="search-count"),
                tabs("layer group", choices, before="layer group"),
                table(head, lines, "Experts that fire on the text", numeric=3),
                gather_bar(GATHER),
                steps("experts", page, more, lambda at: search_link(query, "firing", group=asked, page=at)),
                edit_these(query, "firing", None if asked is None and page == 1 else experts_of(best))
                if lines
                else None,
            ],
            note=[
                "Those of highest " if page == 1 and not more else f"{EXPERTS} a page, by falling ",
                term("F1"),
                ": rate is the share of the occurrences at which the expert is active, precision the share of its "
                "active tokens that are occurrences. Counts are exact. Tokens are the occurrences at which it is "
                "active; mean, max and sum are of its scores there.",
            ],
        )
    ]


def documents(ctx: Context, address: Address) -> list[Any]:
    """The documents that hold the text or match the expression, a page of them.

    Raises:
        BadInputError: the page asked for is none.
        NotFoundError: the run has no such label.
        WorkbenchError: as ``workbench.search.documents_matching``.
    """
    query, label = address.query["q"], address.query.get("label")
    page = shown_page(address, len(ctx.run.documents), DOCUMENTS)
    before = DOCUMENTS * (page - 1)
    matches = documents_matching(ctx.run, *read_pattern(query), label=label, limit=DOCUMENTS, offset=before)
    if not matches.total:
        where = "document" if label is None else f"document of {visible_label(label)}"
        return [message("No documents", f"No {where} of this run matches. Case counts; /(?i)…/ ignores it.")]
    groups = ctx.run.groups if len(matches.hits) else []
    experts = {group: strongest_experts(ctx.run, matches.hits, group, STRONGEST) for group in groups}
    hits = [_hit(ctx, at, row, experts) for at, row in enumerate(matches.hits.to_dict("records"))]
    told: list[Child] = [f"{matches.total:,} {plural(matches.total, 'document')}: "]
    every: list[Child] = [] if label is None else [" · ", html.A("all labels", href=search_link(query, "documents"))]
    return [
        panel(
            "Documents",
            [
                html.P([*told, *_by_label(ctx, query, matches.by_label), *every], className="search-count"),
                html.Ol(hits, className="examples"),
                gather_bar(GATHER),
                steps(
                    "documents",
                    page,
                    before + len(hits) < matches.total,
                    lambda at: search_link(query, "documents", label=label, page=at),
                ),
                edit_these(query, "documents") if label is None else None,
            ],
            note=f"{DOCUMENTS} a page in the order of the corpus, each at its first match, with the experts of the "
            "highest sum of scores over the match.",
        )
    ]


def _hit(ctx: Context, at: int, row: dict[str, Any], experts: dict[int, pd.DataFrame]) -> Element:
    firing: list[Child] = []
    for group, best in experts.items():
        firing += [
            html.Span([gather_box(expert), *_link(ctx, expert)], className="search-expert")
            for expert in (Expert(group, int(number)) for number in best.loc[best["hit"] == at, "expert"])
        ]
    return html.Li(
        [
            html.Div(
                [
                    html.A(f"document {row['doc']:,}", href=document_link(row["doc"], token=row["first_row"])),
                    html.A(label_mark(row["label"], ctx.colour(row["label"])), href=label_link(row["label"])),
                    source_mark(row["source"]) if row["source"] else None,
                    html.Span(f"characters {row['start']:,} to {row['end']:,}"),
                ],
                className="example-head",
            ),
            html.P([_shown(row["before"]), html.Mark(_shown(row["match"])), _shown(row["after"])], className="tokens"),
            html.Div(firing, className="example-head"),
        ],
        className="example",
    )


def _shown(text: str) -> str:
    """Running text with what cannot be seen shown, spaces left as they are."""
    return " ".join(map(visible, text.split(" ")))


def explanations(ctx: Context, address: Address) -> list[Any]:
    """The explanations that say it, a page of them, and the labels of that name.

    Raises:
        BadInputError: the page asked for is none.
        WorkbenchError: as ``workbench.search.explanations_matching``.
    """
    query = address.query["q"]
    named = [
        html.Li(html.A(label_mark(label, ctx.colour(label)), href=label_link(label), className="legend-entry"))
        for label in labels_matching(ctx.run, query)
    ]
    labels = html.Ul(named, className="legend") if named else html.P("No label has it in its name.", className="note")
    drawn = [panel(f"{len(named):,} {plural(len(named), 'label')}", labels, kind="narrow")]
    if not len(read_explanations(ctx.run)):
        return [*drawn, *explain_first(ctx, "No explanations yet")]
    matching = explanations_matching(ctx.run, query, EVERY)
    if matching.empty:
        return [*drawn, message("No explanations", "No stored explanation has its words.")]
    page = shown_page(address, len(matching), EXPLANATIONS)
    first = EXPLANATIONS * (page - 1)
    shown = matching.iloc[first : first + EXPLANATIONS]
    lines = [
        [
            html.Span([gather_box(expert), *_link(ctx, expert)]),
            *cells(row),
            number(row["similarity"], 2),
        ]
        for row in shown.to_dict("records")
        for expert in [Expert(row["group"], row["expert"])]
    ]
    head = ["expert", *heading(), "similarity"]
    told = [f"{len(matching):,} found: {how_found(matching)}. ", *note()]
    listing = [
        table(head, lines, "Explanations", numeric=NUMERIC + 1),
        gather_bar(GATHER),
        steps(
            "explanations",
            page,
            first + len(shown) < len(matching),
            lambda at: search_link(query, "explanations", page=at),
        ),
        edit_these(query, "explanations"),
    ]
    return [*drawn, panel("Explanations", listing, note=told)]


def how_found(matching: pd.DataFrame) -> str:
    """In which order explanations that were searched for are listed."""
    by = "words or similarity of meaning" if matching["similarity"].notna().any() else "the part of its words they have"
    return f"those that contain it first, then by {by}"


def shown_page(address: Address, count: int, rows: int = EXPERTS) -> int:
    """The page of an answer that an address asks for, as far as ``count`` rows go.

    Raises:
        BadInputError: it asks for something that is no number.
    """
    return min(read_page(address.query.get("page", "")), max(1, -(-count // rows)))


def part_of(found: pd.DataFrame, page: int) -> tuple[pd.DataFrame, bool]:
    """The rows on a page of experts, and whether there are more: ``found`` goes one row further than the page."""
    first = EXPERTS * (page - 1)
    return found.iloc[first : first + EXPERTS], len(found) > first + EXPERTS


def experts_of(table: pd.DataFrame) -> list[Expert]:
    """The experts of a table's rows."""
    return [Expert(int(row.group), int(row.expert)) for row in table.itertuples(index=False)]


def edit_these(query: str, kind: str, listed: list[Expert] | None = None) -> Element:
    """A link to the prompt page that removes the experts of a search, or the listed ones where a choice narrowed it."""
    rows = [SearchExperts(kind, query, EXPERTS)] if listed is None else listed
    edit = PromptEdit(tuple(map(EditRow, rows)))
    return html.P(html.A("Edit these experts on the prompt page", href=edit_link(edit.query())), className="note")


def _groups(ctx: Context, asked: str | None) -> list[int]:
    if asked is None:
        return ctx.run.groups
    if not re.fullmatch(r"\d{1,9}", asked):
        raise BadInputError(f"{asked!r} is no number of a group; there are {', '.join(map(str, ctx.run.groups))}.")
    return [ctx.run.check_group(int(asked))]


def plural(count: int, word: str) -> str:
    """The word for so many."""
    return word if count == 1 else f"{word}s"


def _label(ctx: Context, expert: Expert) -> tuple[str, bool]:
    """The label an expert is specialised in, "" for none, and whether that is confirmed."""
    table = ctx.experts(expert.group)
    if expert.id not in table.index:
        return GENERAL, False
    row = table.loc[expert.id]
    return str(row["specialised"]), bool(row["confirmed"])


def _link(ctx: Context, expert: Expert, **data: Any) -> list[Child]:
    """An expert's colour and id, and the name of its label."""
    label, _ = _label(ctx, expert)
    name = shortened(visible_label(label), LONGEST_NAME) or ctx.kind(*expert)
    return [
        swatch(ctx.colour(label)),
        html.A(f"{expert}", href=expert_link(*expert), **data),
        html.Span(name, className="expert-label"),
    ]


def expert_cells(ctx: Context, expert: Expert, **data: Any) -> list[Child]:
    """The first cells of an expert's line: its id, its label, its top tokens."""
    label, confirmed = _label(ctx, expert)
    mark = label_mark(label, ctx.colour(label), ctx.kind(*expert))
    sure: list[Child] = [" ", html.Span("confirmed", className="expert-label")] if confirmed else []
    texts = top_tokens(ctx.run, expert.group, expert.id, PREVIEWED)
    return [
        html.Span(
            [gather_box(expert), html.A(f"{expert}", href=expert_link(*expert), **data)], className="search-chosen"
        ),
        html.Span([mark, *sure], className="search-label"),
        html.Span([html.Span(token_shown(text), className="chip") for text in texts], className="search-tokens"),
    ]


def _by_label(ctx: Context, query: str, counts: pd.Series) -> list[Child]:
    """How often in each label, the most frequent ones, as links to the documents."""
    ordered = counts[counts > 0].sort_values(ascending=False, kind="stable")
    parts: list[Child] = []
    for label, count in ordered.head(LABELS).items():
        link = html.A(label_mark(str(label), ctx.colour(str(label))), href=search_link(query, "documents", label=label))
        parts += [", " if parts else "", link, f" {count:,}"]
    more = len(ordered) - LABELS
    return [*parts, f" and {more:,} more labels" if more > 0 else ""]
