"""A text of the reader's own: the score of one expert at each of its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import ClientsideFunction, Dash, Input, Output, State

from ...analysis.attribution.prompt import read_prompt
from ...errors import WorkbenchError
from ...report.numbers import score_text
from ...store.address import Expert
from ..context import Context
from ..elements import Element, dcc, dmc, html
from ..freeze import freeze
from ..heatmap import legend, shaded
from ..links import TRY
from ..parts import aria, fact, facts, message, panel, token_shown
from ..prompting.answer import prompt_limit, read_text


def trial_panel(ctx: Context, query: dict[str, str]) -> Element:
    """The box for the text, with that of the address; a callback fills in the answer, as it takes the model."""
    box = dmc.Textarea(
        id="try-text",
        value=query.get(TRY, ""),
        minRows=2,
        maxRows=10,
        autosize=True,
        spellCheck=False,
        label=f"Text for the model, up to {prompt_limit(ctx)}",
        className="prompt-text",
    )
    shown = panel(
        "Try my own text",
        [
            box,
            html.Div(
                [
                    dmc.Button("Show scores", id="try-run", n_clicks=0, size="xs"),
                    html.Span("Ctrl+Enter", className="note"),
                ],
                className="prompt-fields",
            ),
            dcc.Loading(dmc.Box(id="try-answer", className="try-answer", **aria(live="polite")), delay_show=200),
        ],
        note="This expert's score at each token of a text. The page's address holds the text, for sharing.",
    )
    return html.Div([shown, dcc.Store(id="try-asked", data=query.get(TRY))], id=TRY)


def trial(ctx: Context, expert: Expert, text: str) -> list[Any]:
    """The tokens of a text, each shaded by an expert's score, and the highest score and the sum.

    Raises:
        BadInputError: the text is empty or too long.
        NotFoundError: there is no model.
        UnsupportedError: the run has no tokenizer, or the model is another one.
    """
    prompt = read_text(ctx, {"text": text})  # before the model is loaded
    scores = read_prompt(ctx.model(), prompt).expert_scores(*expert)
    best = int(scores.argmax()) if len(scores) else 0
    active = int(np.count_nonzero(scores))
    tokens = [
        shaded(token_shown(piece, at > 0), float(score), marked=at == best, reached=True)
        for at, (piece, score) in enumerate(zip(prompt.shown, scores, strict=True))
    ]
    if not active:
        told: Any = html.P(f"The expert is not active at any of the {len(scores):,} tokens.", className="note")
    else:
        told = facts(
            [
                fact("highest score", score_text(float(scores[best])), f"at token {best + 1}"),
                fact("sum of scores", score_text(float(scores.sum()))),
                fact("active tokens", f"{active:,} of {len(scores):,}"),
            ]
        )
    return [told, html.P(tokens, className="tokens"), legend() if active else None]


def register(app: Dash, ctx: Context) -> None:
    """The button puts the text in the address, and its scores are shown in place."""
    app.clientside_callback(
        ClientsideFunction("expert", "ask"),
        Output("try-asked", "data"),
        Input("try-run", "n_clicks"),
        State("try-text", "value"),
        prevent_initial_call=True,
    )

    @app.callback(Output("try-answer", "children"), Input("try-asked", "data"), State("expert-chosen", "data"))
    def show(text: str | None, chosen: list[int]) -> Any:
        if text is None:
            return None
        try:
            return freeze(trial(ctx, Expert(*chosen), text))
        except WorkbenchError as error:
            return message("The text was not read", str(error), "error")
