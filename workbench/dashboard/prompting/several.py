"""Several prompts at once: what the model expects after each, without and with the edit, and their top experts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import BadInputError, WorkbenchError
from ...store.edit_text import PromptEdit
from ...store.token_text import visible
from ..context import Context
from ..edits import read_edit
from ..elements import html
from ..links import prompt_link
from ..parts import panel, table, token_shown, told
from .answer import check_characters, read_effect, read_text
from .draw import change, expert_links

MOST_PROMPTS = 50
TOP = 3  # experts listed of each prompt
LONGEST = 60  # characters shown of a prompt


def split_prompts(text: str) -> list[str]:
    """The prompts of a text: what lines of ``---`` separate, or where there are none, every line that is not blank.

    Examples:
        >>> from workbench.dashboard.prompting.several import split_prompts
        >>> split_prompts("def f(x):\\n\\nlocal x")
        ['def f(x):', 'local x']
        >>> split_prompts("def f(x):\\n  return\\n---\\nlocal x")
        ['def f(x):\\n  return', 'local x']
    """
    parts = re.split(r"^---[ \t]*$", text, flags=re.MULTILINE)
    if len(parts) == 1:
        return [line for line in text.splitlines() if line.strip()]
    stripped = [part.removeprefix("\n").removesuffix("\n") for part in parts]
    return [part for part in stripped if part.strip()]


def several_answer(ctx: Context, query: Mapping[str, str]) -> Any:
    """The table of the prompts of an address, each a link to its own page.

    Raises:
        BadInputError: no prompts or too many, or the text or the edit cannot be read.
        WorkbenchError: as ``read_answer``.
    """
    check_characters(ctx, query)
    prompts = split_prompts(query["text"])
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        raise BadInputError(
            f"there are {len(prompts):,} prompts; give 1 to {MOST_PROMPTS}, one per line or with lines of --- between."
        )
    edit = read_edit(query, ctx)
    rows = [_row(ctx, query, edit, text) for text in prompts]
    edited = ["next token, edited"] if edit else []
    head = ["prompt", "next token", *edited, "top experts", "loss, nats per token"]
    note = (
        "Each prompt is read on its own. Top experts have the largest sum of routing scores over its tokens, unedited."
    )
    return panel(
        f"{len(prompts):,} {'prompt' if len(prompts) == 1 else 'prompts'}",
        html.Div(table(head, rows, "Several prompts", numeric=len(head) - 1), id="several"),
        note=note,
    )


def _row(ctx: Context, query: Mapping[str, str], edit: PromptEdit, text: str) -> list[Any]:
    shown = visible(text[:LONGEST]) + ("…" if len(text) > LONGEST else "")
    link = html.A(shown, href=prompt_link(query, text=text, several=None, at=None, target=None, minus=None))
    cell = html.Span(link, className="several-prompt")
    width = 4 if edit else 3
    try:
        prompt = read_text(ctx, {**query, "text": text})
        effect = read_effect(ctx, edit, prompt)
    except WorkbenchError as error:
        return [cell, told(str(error)), *[None] * (width - 1)]
    unedited = effect.reading if effect.before is None else effect.before
    readings = [unedited] + ([effect.reading] if edit else [])
    nexts = []
    for reading in readings:
        token, probability = reading.next_tokens(1)[["token_text", "probability"]].iloc[0]
        nexts.append(
            html.Span(
                [
                    html.Span(token_shown(token), className="chip"),
                    html.Span(f" {100 * probability:.1f} %", className="count"),
                ]
            )
        )
    experts = html.Span(expert_links(ctx, unedited.most_active(TOP)), className="several-experts")
    loss = effect.reading.loss()
    was = None if effect.before is None else effect.before.loss()
    return [cell, *nexts, experts, html.Span("–" if loss != loss else change(was, loss, digits=3))]
