"""Searches of the run."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from .. import search as searches  # its names are loaded on first use: some take torch
from ..errors import BadInputError
from ..report.files import records
from .models import Answer, Group, Name, Number, Page, reply
from .source import Source


class SearchQuery(Page):
    """What is searched for, and among what."""

    q: str = Field(min_length=1, max_length=1000, description="a text; of documents also /a regular expression/")
    kind: Literal["firing", "text", "documents", "explanations"] = Field(
        "firing",
        description="firing: experts that fire where the corpus has this text; text: experts that the model activates "
        "on it; documents: documents that hold it; explanations: explanations that say it",
    )
    group: Group | SkipJsonSchema[None] = Field(None, description="of kind firing: experts of this group only")
    label: Name = Field(None, description="of kind documents: documents of this label only")
    by: Literal["sum", "max", "frequency"] | SkipJsonSchema[None] = Field(
        None, description="of kind text: what experts are ranked by; by default the sum of their scores"
    )
    density: Annotated[float, Field(gt=0, le=1)] | SkipJsonSchema[None] = Field(
        None, description="of kind text: experts active at no larger a share of the corpus; by default all"
    )


class FiringExpert(Answer):
    """An expert that fires where the corpus has the text."""

    group: int
    expert: int
    tokens: int
    rate: float
    precision: float
    f1: float
    mean: float
    max: float
    sum: float


class TextExpert(Answer):
    """An expert that the model activates on the text."""

    group: int
    expert: int
    sum: float
    max: float
    frequency: int
    density: float
    label: str
    confirmed: bool


class DocumentHit(Answer):
    """A document that holds the text, and where."""

    doc: int
    label: str
    source: str
    start: int
    end: int
    first_row: int
    last_row: int
    before: str
    match: str
    after: str


class FoundExplanation(Answer):
    """An explanation that says the text, or means it."""

    group: int
    expert: int
    kind: str
    author: str
    text: str
    contains: bool
    similarity: Number


class SearchAnswer(Answer):
    """A page of what was found, best first; ``total`` counts the rows of all pages, where that is known."""

    kind: str
    total: int | None
    rows: list[FiringExpert] | list[TextExpert] | list[DocumentHit] | list[FoundExplanation]


def register(api: APIBlueprint, source: Source) -> None:
    """``GET /search``."""

    @api.get("/search", responses={200: SearchAnswer})
    def search(query: SearchQuery) -> Response:
        """Experts that fire on a text, experts of a typed text, documents, or explanations."""
        for name, kind in (("group", "firing"), ("label", "documents"), ("by", "text"), ("density", "text")):
            if getattr(query, name) is not None and query.kind != kind:
                raise BadInputError(f"{name} narrows searches of kind {kind} only; leave it out.")
        return reply(_found(source, query))


def _found(source: Source, query: SearchQuery) -> SearchAnswer:
    run, text, skipped, until = source.run, query.q, query.offset, query.offset + query.limit
    if query.kind == "firing":
        table = searches.experts_firing_on(run, text, query.group, until)[skipped:]
        return SearchAnswer(kind=query.kind, total=None, rows=[FiringExpert(**row) for row in records(table)])
    if query.kind == "text":
        density = 1.0 if query.density is None else query.density
        found = searches.experts_of_text(run, source.model(), text, query.by or "sum", density, until)
        experts = [TextExpert(**row) for row in records(found.table[skipped:])]
        return SearchAnswer(kind=query.kind, total=found.total, rows=experts)
    if query.kind == "documents":
        matches = searches.documents_matching(run, *searches.read_pattern(text), query.label, query.limit, skipped)
        hits = [DocumentHit(**row) for row in records(matches.hits)]
        return SearchAnswer(kind=query.kind, total=matches.total, rows=hits)
    table = searches.explanations_matching(run, text, until)[skipped:][list(FoundExplanation.model_fields)]
    return SearchAnswer(kind=query.kind, total=None, rows=[FoundExplanation(**row) for row in records(table)])
