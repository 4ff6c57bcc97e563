"""Two prompts beside each other: their most active experts, next tokens and losses."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...analysis.attribution.prompt import Prompt, PromptReading, read_prompt
from ...errors import BadInputError
from ...report.numbers import score_text
from ..context import Context
from ..elements import Element, html
from ..links import prompt_link
from ..parts import panel, table
from ..prompting.answer import check_characters
from ..prompting.draw import expert_links
from .forms import Query
from .readings import losses, next_tokens

TOP = 20  # experts of each prompt
NAMES = ("first text", "second text")


def prompts_answer(ctx: Context, query: Query) -> list[Any]:
    """What the model does with two texts.

    Raises:
        BadInputError: a text is missing or too long.
        WorkbenchError: there is no model or no tokenizer.
    """
    texts = [query.get("text", ""), query.get("with", "")]
    check_characters(ctx, {"text": "".join(texts)})
    for name, text in zip(NAMES, texts, strict=True):
        if not text:
            raise BadInputError(f"the {name} is empty; give at least one character.")
    prompts = [Prompt.tokenise(ctx.tokenizer(), text, ctx.context_length) for text in texts]
    readings = [read_prompt(ctx.model(), prompt) for prompt in prompts]
    named = dict(zip(NAMES, readings, strict=True))
    links = [
        html.A(f"Open the {name} alone", href=prompt_link({"text": text}))
        for name, text in zip(NAMES, texts, strict=True)
    ]
    return [
        panel("Loss of the texts", [losses(named), html.Div(links, className="bar-of-links")]),
        _experts(ctx, readings),
        next_tokens(named, "What the model expects once it has read each text."),
    ]


def compared_experts(readings: list[PromptReading], n: int = TOP) -> pd.DataFrame:
    """The ``n`` experts of the largest sum of scores of each of two prompts, with their place in both.

    Returns:
        One row per expert that is among the top of either, by rank in the first, then in the second:

        - group, expert: which one.
        - first, second: sum of its scores over each prompt; 0 where it is never active.
        - first_rank, second_rank: its rank by that sum, from 1; NaN where it is never active.
        - both: whether it is among the top ``n`` of both.
    """
    tables = []
    for name, reading in zip(("first", "second"), readings, strict=True):
        config = reading.forward.model.config
        sums = reading.most_active(config.moe_experts**2 * len(config.routing_groups))  # all that are active
        tables.append(sums.rename(columns={"score": name}).assign(**{f"{name}_rank": range(1, len(sums) + 1)}))
    table = tables[0].merge(tables[1], on=["group", "expert"], how="outer")
    in_top = table[["first_rank", "second_rank"]] <= n
    table = table.assign(both=in_top.all(axis=1))[in_top.any(axis=1)]
    ordered = table.sort_values(["first_rank", "second_rank"], ignore_index=True)
    return ordered.fillna({"first": 0.0, "second": 0.0})


def _experts(ctx: Context, readings: list[PromptReading]) -> Element:
    found = compared_experts(readings)
    columns = []
    for name, title, other in (("first", NAMES[0], "second"), ("second", NAMES[1], "first")):
        top = found[found[f"{name}_rank"] <= TOP].sort_values(f"{name}_rank")
        rows = [
            [
                f"{row[f'{name}_rank']:.0f}",
                link,
                score_text(row[name]),
                _place(row[f"{other}_rank"], row["both"]),
            ]
            for row, link in zip(top.to_dict("records"), expert_links(ctx, top), strict=True)
        ]
        head = ["rank", "expert", "sum", "rank in the other"]
        drawn = table(head, rows, f"Top experts of the {title}", numeric=2)
        columns.append(html.Div([html.H3(title.capitalize()), drawn]))
    both = int(found["both"].sum())
    return panel(
        "Top experts",
        html.Div(columns, className="compare-columns"),
        note=f"The {TOP} experts of the largest sum of routing scores over each text; both texts share {both} of them.",
    )


def _place(rank: float, both: bool) -> str:
    """The rank of an expert in the other text, and that it is not among the top there."""
    place = "not active" if rank != rank else f"{rank:,.0f}"
    return place if both else f"{place}, only here"
