"""Every token where an expert is active: filtered, near copies of documents folded, a page at a time."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd
from dash import Dash, Input, Output, State, no_update

from ...errors import BadInputError
from ...report.expert import in_context
from ...store.address import Expert
from ...store.token_text import visible_label
from ..context import Context
from ..elements import Element, dcc, dmc, html
from ..heatmap import example_line
from ..links import TRY, tokens_link
from ..paging import step
from ..parts import aria, tabs

SHOWN = 25  # tokens of a page
ALL = "all"  # value of the address's field ``show``
FILTERS = ("label", "source", "doc", "low", "high")  # fields of the address that narrow the list


@dataclass(frozen=True)
class Wanted:
    """Which of an expert's tokens are listed, and how.

    Attributes:
        label: of the document; "" for any.
        source: a text that the document's source contains, in any case; "" for any.
        doc: number of the document; None for any.
        low, high: bounds of the score, both inclusive.
        corpus_order: in corpus order, not by score.
        page: from 1.
    """

    label: str = ""
    source: str = ""
    doc: int | None = None
    low: float = 0.0
    high: float = math.inf
    corpus_order: bool = False
    page: int = 1

    @classmethod
    def read(cls, query: dict[str, str]) -> Wanted:
        """What the fields of an address ask for.

        Raises:
            BadInputError: a document or page is no whole number, or a score no number.
        """
        low, high = (_number(query, name) for name in ("low", "high"))
        doc = _whole(query, "doc")
        return cls(
            label=query.get("label", ""),
            source=query.get("source", ""),
            doc=doc,
            low=0.0 if low is None else low,
            high=math.inf if high is None else high,
            corpus_order=query.get("order") == "corpus",
            page=max(_whole(query, "page") or 1, 1),
        )


def _number(query: dict[str, str], name: str) -> float | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise BadInputError(f"the {name}est score {text!r} is not a number; give one such as 0.05.")
    return value


def _whole(query: dict[str, str], name: str) -> int | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"\d{1,12}", text):
        raise BadInputError(f"the {'document' if name == 'doc' else name} {text!r} is not a whole number from 0.")
    return int(text)


def matching(tokens: pd.DataFrame, documents: pd.DataFrame, wanted: Wanted) -> pd.DataFrame:
    """The tokens that are asked for, in the order asked for, with near copies of a document folded into the first.

    Args:
        tokens: of ``Run.activations``.
        documents: of ``Run.documents``.
        wanted: what is asked for; its page does not count here.

    Returns:
        Rows of ``tokens`` in documents that are no near copy of an earlier one with such a token, with

        - source: the document's source
        - copies: number of near copies of the document, folded into it, that have such a token too
    """
    source, original = (documents[name].to_numpy()[tokens["doc"]] for name in ("source", "original"))
    rows = tokens.assign(source=source, original=original)
    kept = rows["score"].between(wanted.low, wanted.high)
    if wanted.label:
        kept &= rows["label"] == wanted.label
    if wanted.source:
        kept &= rows["source"].str.contains(wanted.source, case=False, regex=False)
    if wanted.doc is not None:
        kept &= rows["doc"] == wanted.doc
    rows = rows[kept]
    of_text = rows.groupby("original")["doc"]
    rows = rows.assign(copies=of_text.transform("nunique") - 1)[rows["doc"] == of_text.transform("min")]
    order = ["row"] if wanted.corpus_order else ["score", "row"]
    return rows.drop(columns="original").sort_values(order, ascending=[*[False] * (len(order) - 1), True])


def listing(ctx: Context, expert: Expert, query: dict[str, str]) -> list[Any]:
    """The tokens that an address asks for: the filters, how many match, and one page of them.

    Raises:
        BadInputError: see ``Wanted.read``.
    """
    wanted = Wanted.read(query)
    everything = ctx.activations(*expert)
    found = matching(everything, ctx.run.documents, wanted)
    pages = max(-(-len(found) // SHOWN), 1)
    page = min(wanted.page, pages)
    table = found.iloc[(page - 1) * SHOWN : page * SHOWN].reset_index(drop=True)
    shown = in_context(ctx.run, expert, table) if len(table) else []
    lines = [
        example_line(ctx, expert, example, copies)
        for example, copies in zip(shown, table["copies"].tolist(), strict=True)
    ]
    folded = int(found.drop_duplicates("doc")["copies"].sum())
    tokens = "token" if len(everything) == 1 else "tokens"
    docs = found["doc"].nunique()
    places = f"{docs:,} {'document' if docs == 1 else 'documents'}"
    told = f"{len(found):,} of {len(everything):,} {tokens} match, in {places}"
    copies = f"; {folded:,} near {'copy is' if folded == 1 else 'copies are'} folded into them" if folded else ""
    return [
        _filters(ctx, query),
        tabs(
            "order",
            [
                ("By score", _link(expert, query, order=""), not wanted.corpus_order),
                ("Corpus order", _link(expert, query, order="corpus"), wanted.corpus_order),
            ],
            before="order",
            keeps=(TRY,),
        ),
        html.P(f"{told}{copies}.", className="note listing-count", role="status"),
        html.Ol(lines, className="examples"),
        _pages(expert, query, page, pages) if pages > 1 else None,
    ]


def _link(expert: Expert, query: dict[str, str], **changed: object) -> str:
    fields: dict[str, Any] = {"show": ALL, "page": "", **changed}  # another list begins at its first page
    return tokens_link(*expert, query, **fields)


def _pages(expert: Expert, query: dict[str, str], page: int, pages: int) -> Element:
    before, after = (_link(expert, query, page=to) if 1 <= to <= pages else None for to in (page - 1, page + 1))
    place = html.Span(f"page {page:,} of {pages:,}", className="place")
    return html.Nav(
        [step("← earlier", before, keeps=(TRY,)), place, step("later →", after, keeps=(TRY,))],
        className="expert-nav pages-nav",
        **aria(label="pages of tokens"),
    )


def _filters(ctx: Context, query: dict[str, str]) -> Element:
    boxes = [
        dmc.Select(
            id="listing-label",
            data=[{"value": label, "label": visible_label(label)} for label in ctx.labels],
            value=query.get("label") or None,
            label="label",
            placeholder="any",
            clearable=True,
            searchable=True,
            size="xs",
            w=130,
        ),
        *(
            dmc.TextInput(
                id=f"listing-{name}", value=query.get(name, ""), label=label, placeholder=hint, size="xs", w=width
            )
            for name, label, hint, width in (
                ("source", "source contains", "any", 140),
                ("doc", "document", "any", 80),
                ("low", "score from", "0", 80),
                ("high", "to", "any", 80),
            )
        ),
        dmc.Button("Filter", id="listing-run", n_clicks=0, size="xs"),
    ]
    return html.Div([*boxes, dcc.Store(id="listing-query", data=query)], className="search-box listing-filters")


def register(app: Dash, ctx: Context) -> None:
    """The button, or Enter in a box, puts the filters in the address."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Input("listing-run", "n_clicks"),
        *(Input(f"listing-{name}", "n_submit") for name in FILTERS[1:]),
        *(State(f"listing-{name}", "value") for name in FILTERS),
        State("listing-query", "data"),
        State("try-asked", "data"),
        State("expert-chosen", "data"),
        prevent_initial_call=True,
    )
    def narrow(*given: Any) -> Any:
        presses, values, (query, text, chosen) = given[: len(FILTERS)], given[len(FILTERS) : -3], given[-3:]
        if not any(presses):
            return no_update
        asked = dict(zip(FILTERS, ((value or "").strip() for value in values), strict=True))
        link = _link(Expert(*chosen), query, **asked, **{TRY: text or ""})  # as it is by now
        return link.partition("#")[0][link.index("?") :]
