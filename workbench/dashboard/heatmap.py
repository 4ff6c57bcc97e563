"""Tokens shaded by an expert's score, on one scale for all experts, and that scale's legend."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..report.expert import Example
from ..report.numbers import score_text
from ..report.palette import SHADE_STEPS, score_shade
from ..store.address import Expert
from ..store.token_text import joined
from .context import Context
from .elements import Element, html
from .freeze import plain
from .links import TRY, document_link, expert_link
from .parts import Child, aria, label_mark, source_mark, token_shown

KEPT = 20_000  # tokens that are not drawn again


def legend() -> Element:
    """Scores and their shades."""
    steps = [html.Span(f"{step:g}", className="shade", style={"--shade": score_shade(step)}) for step in SHADE_STEPS]
    return html.P(["score", *steps], className="score-legend", **aria(label="shade of each score, for all experts"))


def shaded(text: Child, score: float, *, marked: bool = False, reached: bool = False, anchor: str = "") -> Child:
    """One token, shaded by a score; pointing at it shows the number.

    Args:
        text: what is shown of it.
        score: the expert's score there; 0 or missing leaves it plain.
        marked: whether it stands out, with its score beside it if it has one.
        reached: whether the keyboard reaches it, so that the number shows there too.
        anchor: its id on the page.
    """
    named: dict[str, Any] = {"id": anchor} if anchor else {}
    if not score > 0:
        return plain("span", text, className="token top" if marked else "token", **named)
    number = score_text(score)
    shade = {"style": {"--shade": score_shade(score)}, **named} | ({"tabIndex": "0"} if reached else {})
    if marked:
        return plain("span", [text, plain("span", number, className="score")], className="token top", **shade)
    return plain("span", text, className="token", **shade, **{"data-score": number})


@lru_cache(KEPT)
def _unscored(text: str, follows: bool) -> Child:
    """A token where the expert is not active; a page has hundreds, of few texts."""
    return shaded(token_shown(text, follows), 0.0)


def example_line(ctx: Context, expert: Expert, example: Example, copies: int = 0) -> Element:
    """One token in its context: its document, then the tokens around it, each shaded by the expert's score.

    Args:
        ctx: the run.
        expert: whose token it is.
        example: the token.
        copies: near copies of its document that have such a token too.
    """
    tokens = [
        shaded(token_shown(text, at > 0), example.score if at == example.at else score, marked=at == example.at)
        if score > 0 or at == example.at
        else _unscored(text, at > 0)
        for at, (text, score) in enumerate(zip(example.texts, example.scores, strict=True))
    ]
    tried: dict[str, Any] = {TRY: joined(example.texts)}
    row = int(ctx.run.geometry.rows(np.array([example.doc]), np.array([example.position]))[0])
    where = [
        label_mark(example.label, ctx.colour(example.label)),
        source_mark(example.source) if example.source else None,
        html.A(
            f"document {example.doc}, token {example.position}",
            href=document_link(example.doc, expert, row),
            className="place",
        ),
        html.Span(f"+{copies:,} {'copy' if copies == 1 else 'copies'}", className="place") if copies else None,
        html.A(
            "Try",
            href=expert_link(*expert, **tried) + f"#{TRY}",
            className="place",
            title="put this text in the box for your own text",
        ),
    ]
    before, after = (
        html.Span("…", className="place") if cut else None for cut in (example.cut_before, example.cut_after)
    )
    return html.Li(
        [html.Div(where, className="example-head"), html.P([before, *tokens, after], className="tokens")],
        className="example",
    )
