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
    experts_of_text,
    explanations_matching,
    labels_matching,
    occurrences,
    read_pattern,
    strongest_experts,
)
from ..store.address import Expert
from ..store.edit_text import EditRow, PromptEdit, SearchExperts
from ..store.token_text import visible, visible_label
from .context import GENERAL, Context
from .elements import Element, html
from .explained import NUMERIC, cells, explain_first, heading, note
from .links import Address, document_link, edit_link, expert_link, label_link, search_link
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

EXPERTS, DOCUMENTS, EXPLANATIONS = 25, 20, 20  # listed on a page
PREVIEWED = 5  # top tokens shown per expert
STRONGEST = 3  # experts of a match in each group
LABELS = 6  # listed beside a count
DENSITIES = (1.0, 0.5, 0.1, 0.01)


def firing(ctx: Context, address: Address) -> list[Any]:
    """The experts that fire on the text.

    Raises:
        BadInputError: the group asked for is no group.
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
    best = experts_at(ctx.run, rows, groups, EXPERTS)
    lines = [
        [
            *_expert(ctx, Expert(int(row.group), int(row.expert))),
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
    told: list[Child] = [f"{len(rows):,} ", term("occurrence", _plural(len(rows), "occurrence")), ": "]
    return [
        panel(
            "Experts that fire on it",
            [
                html.P([*told, *_by_label(ctx, query, by_label)], className="search-count"),
                tabs("layer group", choices, before="layer group"),
                table(head, lines, "Experts that fire on the text", numeric=3),
                _edit_these(query, "firing", None if asked is None else _experts_of(best)),
            ],
            note=[
                f"The {len(best)} experts of highest ",
                term("F1"),
                ": rate is the share of the occurrences at which the expert is active, precision the share of its "
                "active tokens that are occurrences. Counts are exact. Tokens are the occurrences at which it is "
                "active; mean, max and sum are of its scores there.",
            ],
        )
    ]


def text(ctx: Context, address: Address) -> list[Any]:
    """The experts of the text, as the model reads it now.

    Raises:
        BadInputError: a choice makes no sense.
        WorkbenchError: as ``workbench.search.experts_of_text``.
    """
    query, by = address.query["q"], address.query.get("by", "sum")
    density = _density(address.query.get("density", "1"))
    read = experts_of_text(ctx.run, ctx.model(), query, by, density, EXPERTS)  # type: ignore[arg-type]  # it refuses another
    tokens = [_token(at, piece) for at, piece in enumerate(read.tokens)]
    lines = []
    for row, scores in zip(read.table.itertuples(index=False), read.scores, strict=True):
        expert = Expert(int(row.group), int(row.expert))
        lit = " ".join(f"{at}:{scores[at]:.4g}" for at in np.flatnonzero(scores))
        lines.append(
            [
                *_expert(ctx, expert, **{"data-scores": lit}),
                score_text(row.sum),
                score_text(row.max),
                f"{row.frequency:,}",
                f"{100 * row.density:.2f} %",
            ]
        )
    ranked = [(name, search_link(query, "text", by=name, density=f"{density:g}"), name == by) for name in _RANKS]
    dense = [
        (f"{100 * most:g} %", search_link(query, "text", by=by, density=f"{most:g}"), most == density)
        for most in DENSITIES
    ]
    head = ["expert", "label", "top tokens", "sum", "max", "tokens", term("density")]
    return [
        html.Div(
            [
                panel(
                    f"{len(read.tokens):,} {_plural(len(read.tokens), 'token')}",
                    html.Div(tokens, className="chips"),
                    note="Point at a token to light its experts, at an expert to light its tokens; the Tab key does "
                    "the same. A click on a token searches for the experts that fire on it.",
                ),
                panel(
                    "Experts of the text",
                    [
                        html.Div(
                            [
                                tabs("ranked by", ranked, before="ranked by"),
                                tabs("highest density", dense, before="active at no more of the corpus than"),
                            ],
                            className="bar-of-links",
                        ),
                        table(head, lines, "Experts of the text", numeric=3),
                        _edit_these(query, "text", None if (by, density) == ("sum", 1) else _experts_of(read.table)),
                    ],
                    note=[
                        f"{len(lines):,} of {read.total:,} experts that are active on the text. Sum and max are of "
                        "their scores over its tokens; tokens is how many of them they are active at; ",
                        term("density"),
                        " is of the corpus.",
                    ],
                ),
            ],
            className="search-lights",
        )
    ]


_RANKS = ("sum", "max", "frequency")


def _token(at: int, piece: str) -> Element:
    """A token of the text; part of a character cannot be searched for."""
    place: dict[str, Any] = {"data-token": f"{at}"}
    if "‹" in piece:
        return html.Span(token_shown(piece), className="chip", **place)
    return html.A(token_shown(piece), href=search_link(piece, "firing"), className="chip", **place)


def documents(ctx: Context, address: Address) -> list[Any]:
    """The documents that hold the text or match the expression.

    Raises:
        NotFoundError: the run has no such label.
        WorkbenchError: as ``workbench.search.documents_matching``.
    """
    query, label = address.query["q"], address.query.get("label")
    matches = documents_matching(ctx.run, *read_pattern(query), label=label, limit=DOCUMENTS)
    if not matches.total:
        where = "document" if label is None else f"document of {visible_label(label)}"
        return [message("No documents", f"No {where} of this run matches. Case counts; /(?i)…/ ignores it.")]
    experts = {group: strongest_experts(ctx.run, matches.hits, group, STRONGEST) for group in ctx.run.groups}
    hits = [_hit(ctx, at, row, experts) for at, row in enumerate(matches.hits.to_dict("records"))]
    told: list[Child] = [f"{matches.total:,} {_plural(matches.total, 'document')}: "]
    every: list[Child] = [] if label is None else [" · ", html.A("all labels", href=search_link(query, "documents"))]
    return [
        panel(
            "Documents",
            [
                html.P([*told, *_by_label(ctx, query, matches.by_label), *every], className="search-count"),
                html.Ol(hits, className="examples"),
                _edit_these(query, "documents") if label is None else None,
            ],
            note=f"The first {len(hits)} in the order of the corpus, each at its first match, with the experts of the "
            "highest sum of scores over the match.",
        )
    ]


def _hit(ctx: Context, at: int, row: dict[str, Any], experts: dict[int, pd.DataFrame]) -> Element:
    firing: list[Child] = []
    for group, best in experts.items():
        firing += [
            html.Span(_link(ctx, Expert(group, int(expert))), className="search-expert")
            for expert in best.loc[best["hit"] == at, "expert"]
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
    """The explanations that say it, and the labels of that name.

    Raises:
        WorkbenchError: as ``workbench.search.explanations_matching``.
    """
    query = address.query["q"]
    named = [
        html.Li(html.A(label_mark(label, ctx.colour(label)), href=label_link(label), className="legend-entry"))
        for label in labels_matching(ctx.run, query)
    ]
    labels = html.Ul(named, className="legend") if named else html.P("No label has it in its name.", className="note")
    drawn = [panel(f"{len(named):,} {_plural(len(named), 'label')}", labels, kind="narrow")]
    if not len(read_explanations(ctx.run)):
        return [*drawn, *explain_first(ctx, "No explanations yet")]
    matching = explanations_matching(ctx.run, query, EXPLANATIONS)
    if matching.empty:
        return [*drawn, message("No explanations", "No stored explanation contains it.")]
    lines = [
        [html.Span(_link(ctx, Expert(row["group"], row["expert"]))), *cells(row), number(row["similarity"], 2)]
        for row in matching.to_dict("records")
    ]
    head = ["expert", *heading(), "similarity"]
    meaning = matching["similarity"].notna().any()
    how = "those that contain it first, then by similarity of meaning" if meaning else "those that contain it"
    told = [f"{len(matching):,} shown, {how}. ", *note()]
    listing = [table(head, lines, "Explanations", numeric=NUMERIC + 1), _edit_these(query, "explanations")]
    return [*drawn, panel("Explanations", listing, note=told)]


def _experts_of(table: pd.DataFrame) -> list[Expert]:
    return [Expert(int(row.group), int(row.expert)) for row in table.itertuples(index=False)]


def _edit_these(query: str, kind: str, listed: list[Expert] | None = None) -> Element:
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


def _density(asked: str) -> float:
    try:
        return float(asked)
    except ValueError as error:
        raise BadInputError(f"{asked!r} is no density; give a number above 0 and up to 1.") from error


def _plural(count: int, word: str) -> str:
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


def _expert(ctx: Context, expert: Expert, **data: Any) -> list[Child]:
    """The first cells of an expert's line: its id, its label, its top tokens."""
    label, confirmed = _label(ctx, expert)
    mark = label_mark(label, ctx.colour(label), ctx.kind(*expert))
    sure: list[Child] = [" ", html.Span("confirmed", className="expert-label")] if confirmed else []
    texts = top_tokens(ctx.run, expert.group, expert.id, PREVIEWED)
    return [
        html.A(f"{expert}", href=expert_link(*expert), **data),
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
