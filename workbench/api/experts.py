"""Experts: the list of a group, one expert, its examples and its activations."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from ..analysis import SCORES
from ..explain import read_explanations
from ..report.expert import examples, label_use
from ..report.files import plain, records
from ..report.label import top_tokens
from ..store.address import Expert
from .models import Answer, Bound, Count, ExpertPath, Group, Limit, Name, Number, Page, Query, reply
from .source import Source

if TYPE_CHECKING:
    from ..store import Run

TOP_TOKENS = 8
Sort = Literal["expert", "tokens", "mass", "mean", "max", "token_entropy", "interest", "monosemanticity", "ratio"]
LISTED = ("tokens", "mass", "mean", "max", "token_entropy", "interest", "monosemanticity", "ratio")


class ExpertsQuery(Page):
    """Which experts of a group, in which order."""

    group: Group = 0
    sort: Sort = Field("interest", description="column; experts that lack it come last, equal ones by id")
    order: Literal["asc", "desc"] = "desc"
    label: Name = Field(None, description="only those specialised in this label; empty for those without a label")
    confirmed: bool | SkipJsonSchema[None] = Field(None, description="only those whose label is confirmed, or is not")
    min_tokens: Count | SkipJsonSchema[None] = Field(None, description="least active tokens")
    max_tokens: Count | SkipJsonSchema[None] = Field(None, description="most active tokens")
    min_mass: Bound = Field(None, description="least sum of scores")
    min_max: Bound = Field(None, description="least highest score")
    min_interest: Bound = Field(None, description="least interest")
    min_monosemanticity: Bound = Field(None, description="least monosemanticity")
    min_ratio: Bound = Field(None, description="least ratio")
    max_token_entropy: Bound = Field(None, description="highest token entropy, in nats")


class ExpertRow(Answer):
    """An expert of a list."""

    group: int
    expert: int
    tokens: int
    mass: float
    mean: Number
    max: float
    label: str
    confirmed: bool
    monosemanticity: Number
    ratio: Number
    token_entropy: Number
    interest: Number


class ExpertsAnswer(Answer):
    """A page of experts."""

    total: int
    offset: int
    experts: list[ExpertRow]


class LabelUse(Answer):
    """How an expert is used for a label."""

    label: str
    tokens: int
    mass: float
    rate: float
    share: Number


class Octave(Answer):
    """Active tokens whose scores are in an octave."""

    low: float
    high: float
    count: int


class Explanation(Answer):
    """A stored explanation, and how well it predicts where the expert is active."""

    kind: str
    author: str
    text: str
    detection: Number
    fuzzing: Number
    balanced_accuracy: Number
    average_precision: Number


class TokenLogit(Answer):
    """What an expert adds to the logit of a token, on average over its best examples."""

    token: int
    token_text: str
    logit: float


class ExpertQuery(Query):
    """What else is computed."""

    logits: int = Field(0, ge=0, le=50, description="promoted and suppressed tokens to return; takes the model")


class ExpertAnswer(Answer):
    """One expert."""

    group: int
    expert: int
    i: int
    j: int
    tokens: int
    mass: float
    mean: Number
    max: float
    label: str
    confirmed: bool
    scores: dict[str, Number]
    q: dict[str, Number]
    token_entropy: Number
    interest: Number
    labels: list[LabelUse]
    histogram: list[Octave]
    top_tokens: list[str]
    explanations: list[Explanation]
    promoted: list[TokenLogit]
    suppressed: list[TokenLogit]


class ExamplesQuery(Query):
    """How many examples."""

    n: Limit = Field(32, description="examples, at most; a run keeps a limited number")


class ExampleRow(Answer):
    """A token where the expert scores highest, with the tokens around it and the expert's scores there."""

    score: float
    label: str
    source: str
    doc: int
    position: int
    texts: list[str]
    scores: list[float]
    at: int
    cut_before: bool
    cut_after: bool


class ExamplesAnswer(Answer):
    """The examples of an expert, best first."""

    examples: list[ExampleRow]


class ActivationsQuery(Page):
    """Which active tokens of an expert."""

    label: Name = Field(None, description="only in documents of this label")
    source: Name = Field(None, description="only in documents whose source contains this, in any case")
    doc: Count | SkipJsonSchema[None] = Field(None, description="only in this document")
    min_score: Bound = Field(None, description="least score")
    max_score: Bound = Field(None, description="highest score")


class ActivationRow(Answer):
    """A token where the expert is active."""

    row: int
    doc: int
    position: int
    token: int
    token_text: str
    label: str
    score: float


class ActivationsAnswer(Answer):
    """A page of an expert's active tokens, in the order of the corpus."""

    total: int
    offset: int
    activations: list[ActivationRow]


def register(api: APIBlueprint, source: Source) -> None:
    """``GET /experts`` and what is below it."""

    @api.get("/experts", responses={200: ExpertsAnswer})
    def list_experts(query: ExpertsQuery) -> Response:
        """The active experts of a group: filtered, sorted, a page at a time."""
        if query.label:
            source.run.check_label(query.label)
        kept = _kept(source.experts(source.run.check_group(query.group)), query).rename_axis("expert").reset_index()
        by = [query.sort, "expert"] if query.sort != "expert" else ["expert"]
        kept = kept.sort_values(by, ascending=[query.order == "asc", True][: len(by)], na_position="last")
        shown = kept.iloc[query.offset : query.offset + query.limit]
        shown = shown.assign(group=query.group, label=shown["specialised"].astype(str))
        rows = [ExpertRow(**row) for row in records(shown[list(ExpertRow.model_fields)])]
        return reply(ExpertsAnswer(total=len(kept), offset=query.offset, experts=rows))

    @api.get("/experts/<group>/<expert>", responses={200: ExpertAnswer})
    def get_expert(path: ExpertPath, query: ExpertQuery) -> Response:
        """One expert: statistics, label, scores, top tokens, explanations, and the tokens it promotes if asked for."""
        run, of = source.run, _expert(source, path)
        row, known = run.expert(*of), _known(source, of)
        logits = records(source.logit_view(*of, query.logits)) if query.logits else []
        explained = read_explanations(run, *of)[list(Explanation.model_fields)]
        i, j = divmod(of.id, run.num_keys)
        return reply(
            ExpertAnswer(
                group=of.group,
                expert=of.id,
                i=i,
                j=j,
                **{name: plain(row[name]) for name in ("tokens", "mass", "mean", "max")},
                label=str(known.get("specialised", "")),
                confirmed=bool(known.get("confirmed", False)),
                scores={name: plain(known[name]) for name in SCORES if name in known},
                q={name: plain(known[f"q:{name}"]) for name in SCORES if f"q:{name}" in known},
                token_entropy=plain(known.get("token_entropy")),
                interest=plain(known.get("interest")),
                labels=[LabelUse(**use) for use in records(label_use(run, row))],
                histogram=[Octave(**octave) for octave in records(run.histogram(*of))],
                top_tokens=top_tokens(run, *of, TOP_TOKENS),
                explanations=[Explanation(**one) for one in records(explained)],
                promoted=[TokenLogit(**one) for one in logits[: query.logits]],
                suppressed=[TokenLogit(**one) for one in logits[query.logits :]],
            )
        )

    @api.get("/experts/<group>/<expert>/examples", responses={200: ExamplesAnswer})
    def list_examples(path: ExpertPath, query: ExamplesQuery) -> Response:
        """The tokens where an expert scores highest, in context, best first."""
        found = examples(source.run, _expert(source, path), query.n)
        return reply(ExamplesAnswer(examples=[ExampleRow(**asdict(one)) for one in found]))

    @api.get("/experts/<group>/<expert>/activations", responses={200: ActivationsAnswer})
    def list_activations(path: ExpertPath, query: ActivationsQuery) -> Response:
        """Every token where an expert is active, in the order of the corpus, a page at a time."""
        table = _matching(source.run, source.activations(*_expert(source, path)), query)
        shown = table.iloc[query.offset : query.offset + query.limit]
        shown = shown.assign(token_text=source.run.row_text(shown["row"].to_numpy()))
        rows = [ActivationRow(**row) for row in records(shown)]
        return reply(ActivationsAnswer(total=len(table), offset=query.offset, activations=rows))


def _expert(source: Source, path: ExpertPath) -> Expert:
    return Expert(source.run.check_group(path.group), source.run.check_expert(path.expert))


def _known(source: Source, expert: Expert) -> dict[Any, Any]:
    """What is derived about an expert; nothing about one that is never active."""
    table = source.experts(expert.group)
    return dict(table.loc[expert.id]) if expert.id in table.index else {}


def _matching(run: Run, table: pd.DataFrame, query: ActivationsQuery) -> pd.DataFrame:
    """The active tokens that pass the filters."""
    kept = pd.Series(True, table.index)
    if query.label is not None:
        run.check_label(query.label)
        kept &= table["label"] == query.label
    if query.source is not None:
        sources = pd.Series(run.documents["source"].to_numpy()[table["doc"].to_numpy()], table.index, dtype=object)
        kept &= sources.str.contains(query.source, case=False, regex=False)
    if query.doc is not None:
        kept &= table["doc"] == run.check_document(query.doc)
    if query.min_score is not None:
        kept &= table["score"] >= query.min_score
    if query.max_score is not None:
        kept &= table["score"] <= query.max_score
    return table[kept]


def _kept(table: pd.DataFrame, query: ExpertsQuery) -> pd.DataFrame:
    """The experts that pass the filters; one that lacks a number passes no bound on it."""
    kept = pd.Series(True, table.index)
    if query.label is not None:
        kept &= table["specialised"] == query.label
    if query.confirmed is not None:
        kept &= table["confirmed"] == query.confirmed
    for name in LISTED:
        low, high = getattr(query, f"min_{name}", None), getattr(query, f"max_{name}", None)
        if low is not None:
            kept &= table[name] >= low
        if high is not None:
            kept &= table[name] <= high
    return table[kept]
