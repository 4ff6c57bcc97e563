"""Documents: the text of one, its tokens, and the scores of an expert at them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from ..report.files import records
from ..store.address import read_expert
from .models import Answer, Count, Name, Number, Page, Query, reply
from .source import Source


class DocumentPath(Query):
    """The document that an address names."""

    doc: Count = Field(description="number of the document")


class DocumentQuery(Page):
    """Which of its tokens, and whose scores."""

    expert: Name = Field(None, max_length=40, description="group:id of the expert whose scores are returned")


class TokenRow(Answer):
    """A token of a document; ``score`` is null without an expert, or where the run keeps no routing."""

    row: int
    position: int
    token: int
    text: str
    score: Number


class DocumentAnswer(Answer):
    """A document; ``text`` is null where the corpus came as token ids, ``total`` is its number of tokens."""

    doc: int
    label: str
    source: str
    text: str | None
    total: int
    offset: int
    tokens: list[TokenRow]


def register(api: APIBlueprint, source: Source) -> None:
    """``GET /documents/{doc}``."""

    @api.get("/documents/<doc>", responses={200: DocumentAnswer})
    def get_document(path: DocumentPath, query: DocumentQuery) -> Response:
        """One document: its text, label and tokens, a page at a time, with the scores of an expert if one is named."""
        run = source.run
        document = run.documents.iloc[run.check_document(path.doc)]
        first, total = int(document["row"]), int(document["tokens"])
        rows = np.arange(first + min(query.offset, total), first + min(query.offset + query.limit, total))
        shown = run.tokens(rows)[["row", "position", "token"]].assign(text=run.row_text(rows), score=None)
        if query.expert is not None:
            of = read_expert(query.expert, run.groups, run.num_keys)
            if document["kept"]:
                everywhere: pd.Series = source.activations(*of).set_index("row")["score"]
                shown["score"] = everywhere.reindex(rows, fill_value=0.0).to_numpy(np.float64)
        return reply(
            DocumentAnswer(
                doc=path.doc,
                label=str(document["label"]),
                source=str(document["source"]),
                text=run.text(path.doc),
                total=total,
                offset=query.offset,
                tokens=[TokenRow(**row) for row in records(shown)],
            )
        )
