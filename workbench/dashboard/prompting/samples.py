"""Prompts to try on an empty page: how documents of the run begin, one of each label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ...errors import WorkbenchError
from ...report.labels import shortened
from ...store.token_text import visible, visible_label
from ..context import Context
from ..elements import html
from ..links import prompt_link
from ..parts import LONGEST_NAME, label_mark

SAMPLE_TOKENS = 20
MOST_SAMPLES = 12
LONGEST = 48  # characters shown of a sample


@lru_cache(maxsize=8)
def sample_texts(ctx: Context) -> tuple[tuple[str, str], ...]:
    """A label and how a document of it begins, for each of the first labels; empty for a run without texts."""
    documents = ctx.run.documents
    found = []
    try:
        tokenizer = ctx.tokenizer()
    except WorkbenchError:  # without a tokenizer the page says so when a prompt is run
        return ()
    for label in ctx.labels[:MOST_SAMPLES]:
        of_label = documents[(documents["label"] == label) & (documents["tokens"] > 0)]
        text = ctx.run.text(int(of_label["doc"].iloc[0])) if len(of_label) else None
        if not text:
            continue
        spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        found.append((label, text[: spans[: min(SAMPLE_TOKENS, ctx.context_length - 1)][-1][1]]))
    return tuple(found)


def samples(ctx: Context, link: Callable[[Mapping[str, str]], str] = prompt_link) -> Any:
    """Links that run a sample of each label, at the address that ``link`` makes of its text; None for a run without
    texts."""
    found = sample_texts(ctx)
    if not found:
        return None
    links = [
        html.Li(
            html.A(
                [
                    label_mark(label, ctx.colour(label)),
                    html.Span(shortened(visible(text), LONGEST), className="sample-text"),
                ],
                href=link({"text": text}),
                className="sample",
                title=f"{shortened(visible_label(label), LONGEST_NAME)}: the beginning of a document",
            )
        )
        for label, text in found
    ]
    return html.Div(
        [html.P("Or try the beginning of a document:", className="note"), html.Ul(links, className="samples")]
    )
