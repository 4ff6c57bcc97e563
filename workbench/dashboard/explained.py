"""Explanations as rows of a table, on the expert's page and on the page that lists them all."""

from __future__ import annotations

from typing import Any

from ..jobs import Request
from ..report.numbers import number
from ..report.quotes import quoted_parts
from ..store.address import Expert
from ..store.token_text import visible_prose
from .context import Context
from .elements import html
from .parts import Child, term
from .running import has_extra, run_first, unanalysed

NUMERIC = 2  # columns of text before the numbers
TOP = 100  # experts that are put into sentences where none are named


def explain_first(ctx: Context, title: str, expert: Expert | None = None) -> list[Any]:
    """Says that explanations are missing, and runs what makes them: rules, and sentences where the encoder that judges
    them is installed.

    Args:
        ctx: the run, as pages see it.
        title: what is missing, such as "No explanations yet".
        expert: the one to explain; by default those that are worth it, which takes an analysed run.
    """
    if expert is None and not ctx.tested:
        return [unanalysed(ctx)]
    purpose = "" if expert is None else "To learn a rule of its tokens and contexts, without a model or an encoder"
    chosen: dict[str, Any] = {} if expert is None else {"expert": str(expert)}
    offers = [run_first(ctx, title, Request("explain-rules", chosen), purpose)]
    if has_extra("encoder"):
        purpose = "" if expert is None else "To have its contexts put into a sentence"
        offers.append(run_first(ctx, "Or by sentences", Request("explain", chosen or {"top": TOP}), purpose))
    return offers


def note() -> list[Child]:
    """What the numbers mean."""
    return [
        term("detection", "Detection"),
        " and ",
        term("fuzzing"),
        " measure how well a judge who has only the explanation predicts where the expert is active: balanced "
        "accuracy, 0.5 is chance. ",
        term("explanation control", "Control"),
        ": the same with another expert's explanation. ",
        term("average precision", "Average precision"),
        " and ",
        term("balanced accuracy"),
        " say how well a rule tells, token by token, where the expert is ",
        term("strongly active"),
        "; beside the former stands that of a rule that knows the token alone.",
    ]


def heading() -> list[Child]:
    """Heads of the columns."""
    rules = [term("balanced accuracy"), term("average precision"), "token alone"]
    return ["explanation", "author", term("detection"), "control", term("fuzzing"), "control", *rules]


def cells(row: dict[str, Any]) -> list[Child]:
    """The cells of one explanation, a row of ``read_explanations``."""
    names = ["detection", "detection:control", "fuzzing", "fuzzing:control"]
    names += ["balanced_accuracy", "average_precision", "average_precision:token"]
    scores = (row[name] for name in names)
    text = html.Div(_quoted(visible_prose(row["text"])), className="explanation-text")
    return [text, f"{row['author']} ({row['kind']})", *(number(value, 2) for value in scores)]


def _quoted(text: str) -> list[Child]:
    """A sentence with what it quotes in the type of tokens, as the list of experts has it."""
    return [html.Code(part, className="quoted") if quoted else part for part, quoted in quoted_parts(text)]
