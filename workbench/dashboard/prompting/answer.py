"""What the model does with the prompt of an address, and with it under the address's edit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ...analysis.attribution.direct import Attribution
from ...analysis.attribution.prompt import NEXT_TOKENS, Prompt, PromptReading, read_prompt
from ...api.models import MOST_CHARACTERS
from ...errors import BadInputError
from ...store.edit_text import PromptEdit
from ..context import Context
from ..edits import edited_experts, model_edit, number_of_experts, read_edit


def prompt_limit(ctx: Context) -> str:
    """How long a prompt may be: the model's context, or ``MOST_CHARACTERS`` where that is less."""
    tokens = ctx.context_length
    each = ctx.characters_per_token
    if each is None:
        return f"{tokens:,} tokens"
    characters = round(tokens * each, -1)
    if characters < MOST_CHARACTERS:
        return f"{tokens:,} tokens (about {characters:,.0f} characters)"
    return f"{MOST_CHARACTERS:,} characters"


def check_characters(ctx: Context, query: Mapping[str, str]) -> None:
    """Raises BadInputError where text and edit of an address have more than ``MOST_CHARACTERS``."""
    text, edit = len(query.get("text", "")), len(query.get("edit", ""))
    if text > MOST_CHARACTERS:
        raise BadInputError(f"the text has {text:,} characters; the limit is {prompt_limit(ctx)}. Shorten it.")
    if text + edit > MOST_CHARACTERS:
        raise BadInputError(
            f"the edit has {edit:,} characters, with the text {text + edit:,}; the limit is "
            f"{MOST_CHARACTERS:,}. Shorten it, or make it in Python: ExpertEdit.from_frame takes any number of experts."
        )


@dataclass(frozen=True)
class Effect:
    """A prompt read with and without an edit.

    Attributes:
        edit: the edit in force.
        experts: the experts it names, as ``edited_experts`` returns them.
        reading: the prompt under the edit.
        before: the prompt without it; None where there is no edit.
    """

    edit: PromptEdit
    experts: pd.DataFrame
    reading: PromptReading
    before: PromptReading | None

    @property
    def removed(self) -> int:
        """Number of experts that the edit removes."""
        return number_of_experts(self.experts[self.experts["factor"] == 0])


def read_effect(ctx: Context, edit: PromptEdit, prompt: Prompt) -> Effect:
    """Read a prompt under an edit: one forward pass, and one more without the edit where there is an edit."""
    model = ctx.model()
    before = read_prompt(model, prompt) if edit else None
    experts = edited_experts(edit, ctx, before)
    with model.edit_experts(model_edit(edit, experts, model, prompt)):
        return Effect(edit, experts, read_prompt(model, prompt), before)


@dataclass(frozen=True)
class Answer:
    """What the model did with the prompt of an address.

    Attributes:
        query: the fields of the address; every link of the answer is the same address with a change.
        effect: the whole prompt, with and without the edit.
        at: number of the token, from 1, after which the next token is explained.
        reading: the prompt up to that token, under the edit.
        before: the same without the edit; None where there is no edit.
        target: the next token that is explained.
        minus: the token that it is compared with, if one is chosen.
        attribution: direct logit attribution of the target, or of the difference to ``minus``, under the edit.
    """

    query: dict[str, str]
    effect: Effect
    at: int
    reading: PromptReading
    before: PromptReading | None
    target: int
    minus: int | None
    attribution: Attribution

    @property
    def follows(self) -> int | None:
        """The token that follows in the text; None at its end."""
        prompt = self.effect.reading.prompt
        return prompt.ids[int(prompt.bos) + self.at] if self.at < len(prompt.shown) else None

    def next_tokens(self) -> pd.DataFrame:
        """The likeliest next tokens under the edit, then those that were among them without it, then what follows.

        Returns:
            - token, token_text: the token.
            - probability: under the edit.
            - before: without it; NaN where there is no edit.
            - listed: whether it is among the likeliest under the edit.
        """
        likely = self.reading.next_tokens()["token"].tolist()
        was = [] if self.before is None else self.before.next_tokens()["token"].tolist()
        others = was if self.follows is None else [*was, self.follows]
        tokens = list(dict.fromkeys([*likely, *others]))
        before = [float("nan")] * len(tokens) if self.before is None else self.before.probabilities(tokens)
        return pd.DataFrame(
            {
                "token": tokens,
                "token_text": [self.reading.prompt.token_text(token) for token in tokens],
                "probability": self.reading.probabilities(tokens),
                "before": before,
                "listed": [at < min(NEXT_TOKENS, len(likely)) for at in range(len(tokens))],
            }
        )

    def logit_before(self) -> float | None:
        """What the attributed logit, or difference, was without the edit; None where there is no edit."""
        if self.before is None:
            return None
        logits = self.before.forward.logits.double()
        return float(logits[self.target] - (0 if self.minus is None else logits[self.minus]))


def read_text(ctx: Context, query: Mapping[str, str]) -> Prompt:
    """The text of an address and its tokens, in the chat template if the address has ``chat``; loads no model.

    Raises:
        BadInputError: the text is empty, or too long by itself or with the edit.
        UnsupportedError: the run has no tokenizer, or that no chat template.
    """
    check_characters(ctx, query)
    return Prompt.tokenise(ctx.tokenizer(), query.get("text", ""), ctx.context_length, chat="chat" in query)


def read_answer(ctx: Context, query: Mapping[str, str]) -> Answer:
    """Run the prompt of an address: one forward pass, and one more without the edit where there is an edit.

    Raises:
        BadInputError: the text is empty or too long, the edit cannot be read, or there is no such token.
        NotFoundError: an edit of an expert or label that the run does not have; or there is no model.
        NotAnalysedError: an edit of a label, of a run that has not been analysed.
        UnsupportedError: the run has no tokenizer, or the model is another one.
    """
    prompt = read_text(ctx, query)  # before the model is loaded
    effect = read_effect(ctx, read_edit(query, ctx), prompt)
    tokens = len(prompt.shown)
    chosen = _number(query, "at")
    at = tokens if chosen is None else chosen
    reading = effect.reading.until(at)
    before = None if effect.before is None else effect.before.until(at)
    target, minus = _number(query, "target"), _number(query, "minus")
    if target is None:
        target = int(reading.forward.logits.argmax())
    attribution = reading.attribute(target if minus is None else (target, minus))
    return Answer(dict(query), effect, at, reading, before, target, minus, attribution)


def _number(query: Mapping[str, str], name: str) -> int | None:
    """A field that holds a number; None where it is missing.

    Raises:
        BadInputError: it holds something else.
    """
    text = query.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"\d{1,9}", text):
        raise BadInputError(f"the address says {name}={text[:40]!r}; write a number there.")
    return int(text)
