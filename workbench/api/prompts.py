"""Prompts: what the model does with a text, which experts write its next token, and what it writes after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from ..analysis.edited import model_edit, number_of_experts
from ..report.files import plain, records
from .models import Answer, Number, TargetBody, TextBody, reply
from .reading import experts_of, read_edit, read_unedited, tokenise
from .source import Source

if TYPE_CHECKING:
    from monet_model import ExpertEdit, PositionedEdit

    from ..analysis import Prompt, PromptReading

MOST_TOKENS = 128  # that a text may be written on by
MOST_EXPERTS = 100  # per token and group, or of an attribution


class PromptBody(TextBody):
    """A prompt, and the edit under which the model reads it."""

    experts: int = Field(5, ge=1, le=MOST_EXPERTS, description="experts per token and group")
    next: int = Field(6, ge=1, le=MOST_EXPERTS, description="next tokens")


class ActiveExpert(Answer):
    """An expert among the highest-scoring ones at a token of the prompt."""

    position: int
    group: int
    rank: int
    expert: int
    score: float
    factor: float


class NextToken(Answer):
    """A likely next token; ``before`` is its probability without the edit."""

    token: int
    token_text: str
    probability: float
    before: Number


class PromptAnswer(Answer):
    """What the model did; losses are means over the tokens, in nats."""

    tokens: list[str]
    edited: int
    experts: list[ActiveExpert]
    next: list[NextToken]
    loss: Number
    loss_before: Number


class AttributeBody(TargetBody):
    """A prompt, the next token that is explained, and how many experts are returned."""

    experts: int = Field(20, ge=1, le=MOST_EXPERTS, description="experts to return")


class Contribution(Answer):
    """What an expert adds to the logit."""

    layer: int
    group: int
    expert: int
    contribution: float


class Component(Answer):
    """What another part of the model adds to the logit."""

    component: str
    contribution: float


class AttributeAnswer(Answer):
    """A logit, or a difference of two, in parts that sum to it; the parts of experts not listed are left out."""

    tokens: list[str]
    target: int
    target_text: str
    minus: int | None
    logit: float
    total: float
    active_experts: int
    experts: list[Contribution]
    rest: list[Component]


class GenerateBody(TextBody):
    """A prompt, and how it is written on."""

    max_new_tokens: int = Field(32, ge=1, le=MOST_TOKENS)
    temperature: float = Field(0, ge=0, le=100, description="0 for the likeliest token each time")
    top_p: float = Field(1, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**53)


class Alternative(Answer):
    """A token that could have come."""

    token: int
    token_text: str
    probability: float


class WrittenToken(Answer):
    """A token that the model wrote, and the likeliest ones there."""

    token: int
    token_text: str
    probability: float
    alternatives: list[Alternative]


class GenerateAnswer(Answer):
    """What the model wrote, and why it stopped."""

    text: str
    ended: str
    tokens: list[WrittenToken]


def register(api: APIBlueprint, source: Source) -> None:
    """``POST /prompt``, ``/attribute`` and ``/generate``."""

    @api.post("/prompt", responses={200: PromptAnswer})
    def read_text(body: PromptBody) -> Response:
        """A text read by the model: its tokens, their highest-scoring experts, next tokens without and with an edit."""
        before, reading, edited = _read(source, body.text, body.edit)
        likely = reading.next_tokens(body.next)
        likely["before"] = None if before is None else before.probabilities(likely["token"].tolist())
        return reply(
            PromptAnswer(
                tokens=reading.prompt.shown,
                edited=edited,
                experts=[ActiveExpert(**row) for row in records(reading.top_experts(body.experts))],
                next=[NextToken(**row) for row in records(likely)],
                loss=plain(reading.loss()),
                loss_before=None if before is None else plain(before.loss()),
            )
        )

    @api.post("/attribute", responses={200: AttributeAnswer})
    def attribute_text(body: AttributeBody) -> Response:
        """Which experts write a text's next token: direct logit attribution, whose parts sum to the logit."""
        from ..analysis.attribution.prompt import read_token

        _, whole, _ = _read(source, body.text, body.edit)
        reading = whole if body.position is None else whole.until(body.position + 1)
        tokenizer = reading.prompt.tokenizer
        target = int(reading.forward.logits.argmax()) if body.target is None else read_token(tokenizer, body.target)
        minus = None if body.minus is None else read_token(tokenizer, body.minus)
        found = reading.attribute(target if minus is None else (target, minus))
        top = reading.top_contributions(found, body.experts).drop(columns="position")  # it is always the last one
        return reply(
            AttributeAnswer(
                tokens=reading.prompt.shown,
                target=target,
                target_text=reading.prompt.token_text(target),
                minus=minus,
                logit=found.logit,
                total=found.total,
                active_experts=len(found.experts),
                experts=[Contribution(**row) for row in records(top)],
                rest=[Component(**row) for row in records(found.rest)],
            )
        )

    @api.post("/generate", responses={200: GenerateAnswer})
    def write_on(body: GenerateBody) -> Response:
        """What the model writes after a text, under an edit if there is one; one text at a time."""
        from ..analysis.generation import generate_text

        prompt = tokenise(source, body.text)
        with source.writing():
            written = generate_text(
                source.model(),
                prompt,
                edit=_edit(source, body.edit, prompt),
                max_new_tokens=body.max_new_tokens,
                temperature=body.temperature,
                top_p=body.top_p,
                seed=body.seed,
            )
        likely: list[list[Alternative]] = [[] for _ in written.tokens]
        for row in records(written.alternatives):
            likely[row.pop("position")].append(Alternative(**row))
        tokens = [
            WrittenToken(token=token, token_text=text, probability=probability, alternatives=others)
            for token, text, probability, others in zip(
                written.tokens, written.texts, written.probability, likely, strict=True
            )
        ]
        return reply(GenerateAnswer(text=written.text, ended=written.ended, tokens=tokens))


def _read(source: Source, text: str, edit: str) -> tuple[PromptReading | None, PromptReading, int]:
    """A text as the model reads it without the edit, None where there is none, and with it; experts it scales."""
    from ..analysis.attribution.prompt import read_prompt

    read = read_edit(source, edit)
    before = read_unedited(source, tokenise(source, text))
    if not read:
        return None, before, 0
    experts, model = experts_of(source, read, before), source.model()
    with model.edit_experts(model_edit(read, experts, model, before.prompt)):
        return before, read_prompt(model, before.prompt), number_of_experts(experts)


def _edit(source: Source, text: str, prompt: Prompt) -> ExpertEdit | PositionedEdit | None:
    read = read_edit(source, text)
    if not read:
        return None
    reading = read_unedited(source, prompt) if read.reads_prompt else None
    return model_edit(read, experts_of(source, read, reading), source.model(), prompt)
