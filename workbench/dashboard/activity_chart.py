"""The chart of how many labels replicate, by activity: plain elements, placed by shares of its width and height."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import pandas as pd

from .elements import Element, html
from .freeze import plain

CHANCE_COLOUR = "#868e96"
LINES: dict[str, tuple[str, str, str, dict[str, Any]]] = {  # rule -> colour, dash and mark: never colour alone
    "confirmed": ("#0072B2", "", "circle", {"r": 4}),
    "specialised": ("#E69F00", "7 5", "rect", {"x": -4, "y": -4, "width": 8, "height": 8}),
}
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # on the axis


def activity_chart(bins: pd.DataFrame) -> Element:
    """The share that replicates of each rule's experts, by their active tokens, and what chance gives.

    Args:
        bins: of ``Replication.by_activity``.
    """
    rules = [rule for rule in LINES if rule in bins.index.get_level_values("rule")]
    words = bins.groupby("low")["tokens"].first()
    places = {text: (at + 0.5) / len(words) for at, text in enumerate(words)}
    drawn = [
        plain("line", x1="0%", x2="100%", y1=_at(1 - share), y2=_at(1 - share), className="chart-grid")
        for share in SHARES
    ]
    keys: list[Any] = []
    for rule in rules:
        colour, dash, mark, size = LINES[rule]
        of_rule = bins.loc[rule]
        drawn += _line(places, of_rule["tokens"], of_rule["share"], colour, dash)
        drawn += [
            plain(
                "svg",
                [
                    plain(mark, fill=colour, **size),
                    plain("title", f"{row.tokens} active tokens: {row.share:.0%} of {row.experts:,} {rule}"),
                ],
                x=_at(places[row.tokens]),
                y=_at(1 - row.share),
            )
            for row in of_rule.itertuples()
            if isfinite(row.share)
        ]
        keys.append(_key(rule, colour, dash, [plain(mark, fill=colour, **size)]))
    chance = bins.loc[rules[-1]]
    drawn += _line(places, chance["tokens"], chance["chance_share"], CHANCE_COLOUR, "2 3")
    keys.append(_key("by chance", CHANCE_COLOUR, "2 3", []))
    shares = [html.Span(f"{share:.0%}", style={"top": _at(1 - share)}) for share in SHARES]
    ticks = [html.Span(f"{low:,}", style={"left": _at(places[text])}) for low, text in words.items()]
    parts: list[Any] = [
        html.Div(shares, className="chart-shares"),
        plain("svg", drawn),
        html.Div(ticks, className="chart-ticks"),
    ]
    return html.Div(
        [
            html.Div(keys, className="chart-keys"),
            html.Div(
                parts,
                className="chart-plot",
            ),
            html.Div("active tokens, from", className="chart-title"),
        ],
        className="activity-chart",
    )


def _at(share: float) -> str:
    return f"{100 * share:.4g}%"


def _line(places: Mapping[str, float], tokens: pd.Series, shares: pd.Series, colour: str, dash: str) -> list[Any]:
    """A line through the shares that are known."""
    points = [(places[text], share) for text, share in zip(tokens, shares, strict=True)]
    return [
        plain(
            "line",
            x1=_at(x),
            y1=_at(1 - y),
            x2=_at(to_x),
            y2=_at(1 - to_y),
            stroke=colour,
            strokeWidth=2,
            strokeDasharray=dash,
        )
        for (x, y), (to_x, to_y) in zip(points, points[1:], strict=False)
        if isfinite(y) and isfinite(to_y)
    ]


def _key(name: str, colour: str, dash: str, mark: list[Any]) -> Element:
    """What a line is called."""
    line = plain("line", x1=-14, x2=14, y1=0, y2=0, stroke=colour, strokeWidth=2, strokeDasharray=dash)
    shown: list[Any] = [plain("svg", [line, *mark], viewBox="-14 -6 28 12", width=28, height=12), name]
    return html.Span(shown)
