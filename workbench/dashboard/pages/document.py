"""One document: its whole text, each token shaded by one expert's score; or its strongest experts, to choose from."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from ...errors import BadInputError, NotFoundError
from ...report.numbers import score_text
from ...store.address import Expert, read_expert
from ..context import Context
from ..document_text import WINDOW, Piece, pieces, window_start
from ..elements import Element, html
from ..heatmap import legend, shaded
from ..links import DOCUMENT_PATH, Address, document_link, expert_link, label_link, token_anchor
from ..page import Page
from ..paging import step
from ..parts import Child, aria, fact, facts, label_mark, message, panel, source_mark, table, term

STRONGEST = 10  # experts listed of each group
LISTED_COPIES = 8


def _document(ctx: Context, address: Address) -> int:
    (text,) = address.parts
    if not re.fullmatch(r"\d{1,12}", text):
        raise BadInputError(f"{text!r} names no document; give its number, such as /documents/0.")
    return ctx.run.check_document(int(text))


def _asked(address: Address, name: str) -> int | None:
    text = address.query.get(name, "")
    if text and not re.fullmatch(r"\d{1,15}", text):
        raise BadInputError(f"the field {name} of the address is {text!r}; give a whole number from 0.")
    return int(text) if text else None


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        NotFoundError: the run has no such document or expert, or the token is not one of the document's.
        BadInputError: the address names no document, expert or token.
    """
    doc = _document(ctx, address)
    asked = address.query.get("expert")
    expert = None if not asked else read_expert(asked, ctx.run.groups, ctx.run.num_keys)
    document = ctx.run.documents.iloc[doc]
    first, tokens = int(document["row"]), int(document["tokens"])
    row = _asked(address, "token")
    if row is not None and not first <= row < first + tokens:
        raise NotFoundError(f"token row {row} is not in document {doc}; its rows are {first} to {first + tokens - 1}.")
    start = window_start(tokens, None if row is None else row - first, _asked(address, "start"))
    text = _text(ctx, doc, expert, row, start)
    head = [html.H1(f"Document {doc}"), _facts(ctx, doc)]
    if not document["kept"]:
        head.append(
            message("No scores", "The run does not keep the routing of this document: see keep-routing.", "info")
        )
    if expert is not None:
        return [*head, _of_expert(ctx, doc, expert), text]
    return [*head, text, *(_strongest(ctx, doc, group) for group in ctx.run.groups if document["kept"])]


def _facts(ctx: Context, doc: int) -> Element:
    document = ctx.run.documents.iloc[doc]
    label = str(document["label"])
    same = ctx.run.documents.loc[ctx.run.documents["original"] == document["original"], "doc"]
    copies = [int(other) for other in same if other != doc]
    links: list[Child] = [
        part for other in copies[:LISTED_COPIES] for part in (" ", html.A(str(other), href=document_link(other)))
    ]
    if len(copies) > LISTED_COPIES:
        links.append(f" and {len(copies) - LISTED_COPIES:,} more")
    return facts(
        [
            fact("label", html.A(label_mark(label, ctx.colour(label)), href=label_link(label))),
            *([fact("source", source_mark(document["source"]))] if document["source"] else []),
            fact("tokens", f"{int(document['tokens']):,}"),
            fact(term("near copy", "near copies"), f"{len(copies):,}", ["documents", *links] if copies else None),
        ]
    )


def _of_expert(ctx: Context, doc: int, expert: Expert) -> Element:
    """Which expert is shown, what it does here, and the documents before and after this one where it is active."""
    everywhere = ctx.activations(*expert)
    here = everywhere.loc[everywhere["doc"] == doc, "score"]
    active = np.unique(everywhere["doc"].to_numpy())
    before, after = active[active < doc], active[active > doc]
    label = ctx.experts(expert.group)["specialised"].get(expert.id, "")
    told = (
        f" is active at {len(here):,} {'token' if len(here) == 1 else 'tokens'} here: "
        f"highest score {score_text(here.max())}, sum of scores {score_text(here.sum())}."
        if len(here)
        else " is not active at any token here."
    )
    steps = [
        step("← document before where it is active", document_link(int(before[-1]), expert) if len(before) else None),
        step("next one →", document_link(int(after[0]), expert) if len(after) else None),
        html.A("other experts", href=document_link(doc)),
    ]
    name = html.A(f"Expert {expert}", href=expert_link(*expert))
    return html.Div(
        [
            html.P([name, ", ", label_mark(label, ctx.colour(label), ctx.kind(*expert)), ",", told]),
            html.Nav(steps, className="expert-nav", **aria(label="documents where the expert is active")),
        ]
    )


def _text(ctx: Context, doc: int, expert: Expert | None, row: int | None, start: int) -> Element:
    tokens = int(ctx.run.documents["tokens"].iloc[doc])
    scores = pd.Series(dtype=np.float64)
    if expert is not None:
        everywhere = ctx.activations(*expert)
        here = everywhere[everywhere["doc"] == doc]
        scores = pd.Series(here["score"].to_numpy(), here["row"].to_numpy())
    shown = [part for piece in pieces(ctx.run, doc, start, scores) for part in _piece(piece, piece.row == row)]
    end = min(start + WINDOW, tokens)
    steps = None
    if tokens > WINDOW:
        earlier = document_link(doc, expert, start=max(start - WINDOW, 0)) if start else None
        later = document_link(doc, expert, start=end) if end < tokens else None
        place = html.Span(f"tokens {start + 1:,} to {end:,} of {tokens:,}", className="place")
        steps = html.Nav(
            [step("← earlier", earlier), place, step("later →", later)],
            className="expert-nav",
            **aria(label="parts of the document"),
        )
    body = html.P(shown, className="tokens document-text", dir="auto") if shown else html.P("The document is empty.")
    return panel("Text", [None if expert is None else legend(), steps, body])


def _piece(piece: Piece, marked: bool) -> list[Child]:
    """A piece of the text; a line break with a score has a sign in front of it, as nothing else of it can be shaded."""
    body, breaks = piece.text, ""
    if piece.score:
        body = piece.text.rstrip("\n")
        breaks = piece.text[len(body) :]
    sign = html.Span("↵" * len(breaks), className="break-sign", **aria(hidden="true")) if breaks else None
    anchor = token_anchor(piece.row) if marked else ""
    return [shaded([body, sign], piece.score, marked=marked, reached=True, anchor=anchor), breaks]


def _strongest(ctx: Context, doc: int, group: int) -> Element:
    labels = ctx.experts(group)["specialised"]
    rows = [
        [
            html.A(f"{group}:{row.expert}", href=document_link(doc, Expert(group, row.expert))),
            label_mark(labels[row.expert], ctx.colour(labels[row.expert]), ctx.kind(group, row.expert)),
            score_text(row.mass),
            f"{row.tokens:,}",
        ]
        for row in ctx.document_experts(doc, group, STRONGEST).itertuples(index=False)
    ]
    name = f"Strongest experts of group {group}"
    return panel(
        name,
        table(["expert", "label", "sum of scores", "active tokens"], rows, name, numeric=2),
        note="By the sum of their scores in this document. Choose one to see its score at each token.",
        kind="narrow",
    )


def _title(ctx: Context, address: Address) -> str:
    return f"Document {_document(ctx, address)}"


PAGE = Page("document", DOCUMENT_PATH, _title, layout)
