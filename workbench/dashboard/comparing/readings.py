"""Readings of prompts beside each other: the likeliest next tokens and the loss of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...analysis.attribution.prompt import PromptReading
from ...report.palette import RAISES
from ..elements import Element, html
from ..parts import Child, bar, fact, facts, panel, table, token_shown
from ..prompting.draw import change


def next_tokens(readings: Mapping[str, PromptReading], note: str, against_first: bool = False) -> Element:
    """The likeliest next tokens of any of the readings, with their probability in all.

    Args:
        readings: by what their column is called; of one vocabulary.
        note: what is compared.
        against_first: show the others' probabilities as a change from the first one's.
    """
    columns = list(readings.values())
    tokens = list(dict.fromkeys(token for one in columns for token in one.next_tokens()["token"].tolist()))
    by_reading = [one.probabilities(tokens) for one in columns]
    rows = []
    for at, token in enumerate(tokens):
        text = columns[0].prompt.token_text(token)
        cells: list[Child] = [html.Span(token_shown(text), className="chip")]
        first = 100 * by_reading[0][at]
        for number, probabilities in enumerate(by_reading):
            value = 100 * probabilities[at]
            was = first if against_first and number else None
            cells += [bar(probabilities[at], RAISES), html.Span(_percent(was, value))]
        rows.append(cells)
    head = ["next token", *(part for name in readings for part in (None, name))]
    return panel("Next token", table(head, rows, "Likeliest next tokens of each"), note=note)


def _percent(was: float | None, now: float) -> list[Any]:
    """A probability in per cent, and how far it is from another one."""
    if was is None:
        return [f"{now:.1f} %"]
    return [f"{now:.1f} % ", change(was, now, digits=1)[1]]


def losses(readings: Mapping[str, PromptReading]) -> Element:
    """The loss of each reading's text in nats per token; – for one token that nothing precedes."""
    found = {name: one.loss() for name, one in readings.items()}
    return facts([fact(name, "–" if loss != loss else f"{loss:.3f}", "nats per token") for name, loss in found.items()])
