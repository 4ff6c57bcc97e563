"""The report of one text: its tokens with the top experts of each, and direct logit attribution of the next token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from monet_model import PositionedEdit

from ..analysis.attribution.prompt import Prompt, PromptReading, read_prompt
from ..analysis.run_model import context_length, load_run_model, run_tokenizer
from .files import Document, encode, records, save
from .kinds import check_kind
from .origin import analysis, origin

if TYPE_CHECKING:
    from monet_model import ExpertEdit, MonetForCausalLM

    from ..store import Run


def specialised_in(run: Run, group: int, experts: set[int]) -> dict[int, str]:
    """The label of each expert that is specialised in one; empty where the run has not been analysed."""
    derived = analysis(run, group)
    if derived is None:
        return {}
    column = derived["specialised"]
    return {expert: label for expert, label in column[column.index.isin(experts)].items() if label}


def _tokens(run: Run, reading: PromptReading) -> list[dict[str, Any]]:
    experts = reading.top_experts()
    labels = {group: specialised_in(run, group, set(rows["expert"])) for group, rows in experts.groupby("group")}
    tokens: list[dict[str, Any]] = [
        {"position": position, "text": piece, "experts": {str(group): [] for group in run.groups}}
        for position, piece in enumerate(reading.prompt.shown)
    ]
    for row in records(experts):
        label = labels[row["group"]].get(row["expert"], "")
        expert = {"expert": row["expert"], "score": row["score"], "specialised": label}
        tokens[row["position"]]["experts"][str(row["group"])].append(expert)
    return tokens


def _next_token_attribution(reading: PromptReading) -> dict[str, Any]:
    attribution = reading.attribute()
    assert isinstance(attribution.target, int)
    return {
        "target": reading.prompt.token_text(attribution.target),
        "logit": attribution.logit,
        "total": attribution.total,
        "completeness": attribution.completeness,
        "experts": records(reading.top_contributions(attribution)),
        "parts": records(attribution.summary()),
    }


def _table(content: dict[str, Any]) -> pd.DataFrame:
    """One row per token, group and expert."""
    rows = [
        {
            "run": content["origin"]["run"],
            "position": token["position"],
            "token": token["text"],
            "group": int(group),
            "rank": rank,
            **expert,
        }
        for token in content["tokens"]
        for group, experts in token["experts"].items()
        for rank, expert in enumerate(experts, start=1)
    ]
    return pd.DataFrame(rows)


def _edited(run: Run, edit: ExpertEdit | PositionedEdit, bos: bool) -> list[dict[str, Any]]:
    """The edited experts, and the factor of each; where an edit holds at some tokens only, the first and last of them.

    Args:
        run: the run.
        edit: what scales the experts.
        bos: whether the text has a start-of-text token, which is not among its tokens.
    """
    rows = []
    for part, spans in edit.parts if isinstance(edit, PositionedEdit) else ((edit, None),):
        tokens = [] if spans is None else [_numbers(span, bos) for span in spans if span.stop != int(bos)]
        if spans is not None and not tokens:
            continue  # it holds at the start-of-text token alone
        rows += [
            {"group": group, "expert": int(expert), "factor": float(factor)} | ({"tokens": tokens} if tokens else {})
            for group, layer in zip(run.groups, run.group_layers, strict=True)
            if layer in part.experts
            for expert, factor in zip(part.experts[layer], part.factors[layer], strict=True)
        ]
    return rows


def _numbers(positions: slice, bos: bool) -> list[int | None]:
    """Numbers from 1 of the first and the last token of some positions; None where there is no last."""
    return [max(1, positions.start + 1 - int(bos)), None if positions.stop is None else positions.stop - int(bos)]


def _document(run: Run, reading: PromptReading, edit: ExpertEdit | PositionedEdit | None = None) -> Document:
    content = {
        "report": "text",
        "origin": origin(run),
        "text": reading.prompt.text,
        "chat": reading.prompt.chat,
        "tokens": _tokens(run, reading),
        "next": [
            {"token": row["token_text"], "probability": row["probability"]} for row in records(reading.next_tokens())
        ],
        "push": _next_token_attribution(reading),
    }
    if edit is not None:
        content["edit"] = _edited(run, edit, reading.prompt.bos)
    return Document("text.html.j2", content, _table(content))


def text_document(
    run: Run, model: MonetForCausalLM, prompt: Prompt, edit: ExpertEdit | PositionedEdit | None = None
) -> Document:
    """The report of a prompt before it is written in a format; ``model`` is the run's, and reads it under ``edit``."""
    if edit is None:
        return _document(run, read_prompt(model, prompt))
    with model.edit_experts(edit):
        return _document(run, read_prompt(model, prompt), edit)


def text_report(
    run: Run,
    text: str,
    kind: str,
    out: str | Path,
    *,
    chat: bool = False,
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Write the report of one text, read by the run's model.

    Args:
        run: an opened run; its model must be where the run says it is.
        text: what the model reads, at most as many tokens as its context.
        kind: ``html`` (one page), ``json`` (the same as data), ``csv`` or ``parquet`` (one row per token, group and
            expert; Parquet's metadata holds the rest under ``monet.report``).
        out: the file; an existing one is replaced.
        chat: put the text into the tokenizer's chat template, as ``Prompt.tokenise`` does.
        device, dtype: where the model runs and in which precision, as for ``load_model``.

    Raises:
        BadInputError: an unknown format, or a text that is empty or too long.
        NotFoundError: there is no model, or no folder for ``out``.
        UnsupportedError: the run has no tokenizer, or the model is another one.
    """
    check_kind(kind)
    prompt = Prompt.tokenise(run_tokenizer(run), text, context_length(run), chat=chat)  # before the model is loaded
    save(encode(_document(run, read_prompt(load_run_model(run, device=device, dtype=dtype), prompt)), kind), out)
