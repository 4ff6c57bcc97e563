"""Two edits of experts on one text: next tokens and loss under none, the first and the second."""

from __future__ import annotations

from typing import Any

from ...analysis.attribution.prompt import Prompt, PromptReading
from ...errors import BadInputError
from ..context import Context
from ..edits import number_of_experts, read_edit
from ..elements import html
from ..links import prompt_link
from ..parts import panel, table
from ..prompting.answer import check_characters, read_effect
from .forms import Query
from .readings import losses, next_tokens


def edits_answer(ctx: Context, query: Query) -> list[Any]:
    """What the model does with a text under two edits.

    Raises:
        BadInputError: the text or both edits are missing, or one of them cannot be read.
        NotFoundError: an edit names an expert or label that the run does not have.
        WorkbenchError: there is no model or no tokenizer.
    """
    text = query.get("text", "")
    written = {"first edit": query.get("edit", ""), "second edit": query.get("edit2", "")}
    check_characters(ctx, {"text": text, "edit": "".join(written.values())})
    edits = {name: edit for name, words in written.items() if (edit := read_edit({"edit": words}, ctx))}
    if not edits:
        raise BadInputError(
            "both edits are empty; write one such as top:10=0, which removes the ten most active experts."
        )
    prompt = Prompt.tokenise(ctx.tokenizer(), text, ctx.context_length)
    readings: dict[str, PromptReading] = {}
    rows = []
    for name, edit in edits.items():
        effect = read_effect(ctx, edit, prompt)
        if effect.before is not None:
            readings.setdefault("no edit", effect.before)
        readings[name] = effect.reading
        link = html.A(f"{edit}", href=prompt_link({"text": text} | edit.query()))
        rows.append([name, link, f"{number_of_experts(effect.experts):,}", f"{effect.removed:,}"])
    return [
        panel(
            "The edits",
            [losses(readings), table(["which", "edit", "experts", "removed"], rows, "The edits", numeric=2)],
            note="Loss of the text without an edit and under each. An edit leads to its page Prompt.",
        ),
        next_tokens(readings, "What the model expects after the text; in brackets, the change from no edit.", True),
    ]
