"""The report of one text: its tokens with the strongest experts of each, and what pushes the token that follows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .files import Report, check_kind, encode, records, save
from .origin import analysis, origin
from .reading import Push, Reading, encode_text, model_of, read_push, read_text

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run


def specialised_in(run: Run, group: int, experts: set[int]) -> dict[int, str]:
    """The label of each expert that has one; none where the run has not been analysed."""
    derived = analysis(run, group)
    if derived is None:
        return {}
    column = derived["specialised"]
    return {expert: label for expert, label in column[column.index.isin(experts)].items() if label}


def _tokens(run: Run, reading: Reading) -> list[dict[str, Any]]:
    labels = {
        group: specialised_in(run, group, {expert for token in tokens for expert, _ in token})
        for group, tokens in reading.experts.items()
    }
    return [
        {
            "position": at,
            "text": piece,
            "experts": {
                str(group): [
                    {"expert": expert, "score": score, "specialised": labels[group].get(expert, "")}
                    for expert, score in tokens[at]
                ]
                for group, tokens in reading.experts.items()
            },
        }
        for at, piece in enumerate(reading.pieces)
    ]


def _push(push: Push) -> dict[str, Any]:
    return {
        "target": push.target,
        "logit": push.logit,
        "total": push.total,
        "completeness": push.completeness,
        "experts": records(push.experts),
        "parts": records(push.parts),
    }


def _table(content: dict[str, Any]) -> pd.DataFrame:
    """A row for each token, group and expert."""
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


def text_document(run: Run, model: MonetForCausalLM, text: str) -> Report:
    """The report of a text, before it takes a form; ``model`` is the run's.

    Raises:
        WorkbenchError: the text is empty or too long, or the run has no tokenizer.
    """
    reading = read_text(run, model, text)
    content = {
        "report": "text",
        "origin": origin(run),
        "text": text,
        "tokens": _tokens(run, reading),
        "next": [{"token": piece, "probability": probability} for _, piece, probability in reading.following],
        "push": _push(read_push(run, model, reading, reading.following[0][0])),
    }
    return Report("text.html.j2", content, _table(content))


def text_report(run: Run, text: str, kind: str, out: str | Path) -> None:
    """Writes the report of one text, read by the run's model.

    Args:
        run: the opened run; its model must be where the run says it is.
        text: what the model reads, up to 4,000 characters and 512 tokens.
        kind: ``html`` (one page), ``json`` (the same as data), ``csv`` or ``parquet`` (a row for each token, group and
            expert; Parquet's metadata holds the rest under ``monet.report``).
        out: the file; one that exists is replaced.

    Raises:
        WorkbenchError: a text or format that cannot be used, a run without tokenizer or model, or ``out`` cannot be
            written.
    """
    check_kind(kind)
    encode_text(run, text)  # says what is wrong with the text before the model is loaded
    save(encode(text_document(run, model_of(run, run.model_path), text), kind), out)
