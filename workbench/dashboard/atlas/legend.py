"""What the colours of a map mean: the labels, or a scale with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...report.glossary import GLOSSARY
from ...report.numbers import score_text
from ...report.palette import OTHER_LABELS_COLOUR
from ..elements import Element, html
from ..links import label_link
from ..parts import aria, label_mark, swatch, term
from ..tables import TOO_LITTLE
from .colourings import CONFIRMED
from .painting import scale, scale_colours

if TYPE_CHECKING:
    from ..context import Context
    from .colourings import Colouring

SHOWN = 24  # steps of a scale in its bar


def legend(ctx: Context, colouring: Colouring) -> Element:
    """The legend of a colouring."""
    if not colouring.by_label:
        return _scale(ctx, colouring)
    grey = [(ctx.without_label, "generalist"), (TOO_LITTLE, "too-little")][: 1 + ctx.analysed]
    if colouring.name == CONFIRMED:
        grey = [("not confirmed", "too-little")]
    return labels_legend(ctx, [*grey, ("never active", "unseen")], "Colours of the maps")


def labels_legend(ctx: Context, grey: Sequence[tuple[str, str]], name: str) -> Element:
    """The labels with their colours, then what has none: its name and the class of its swatch.

    Args:
        ctx: the run.
        grey: what has no label's colour.
        name: what screen readers call the legend.
    """
    entries: list[Any] = [
        html.A(label_mark(label, ctx.colour(label)), href=label_link(label), className="legend-entry")
        for label in ctx.coloured
    ]
    if ctx.uncoloured:
        other: list[Any] = [swatch(OTHER_LABELS_COLOUR), f"other labels ({len(ctx.uncoloured):,})"]
        entries.append(html.Span(other, className="legend-entry"))
    for shown, style in grey:
        mark = html.Span(className=f"swatch {style}", **aria(hidden="true"))
        entries.append(html.Span([mark, shown], className="legend-entry"))
    return html.Ul([html.Li(entry) for entry in entries], className="legend", **aria(label=name))


def _scale(ctx: Context, colouring: Colouring) -> Element:
    ends = scale(ctx, colouring)
    told = ", logarithmic" if ends.log else "; values beyond are at the ends" if colouring.signed else ""
    steps = [html.Span(style={"backgroundColor": colour}) for colour in scale_colours(colouring, SHOWN)]
    written = [html.Span(score_text(value)) for value in ends.ticks()]
    name = term(colouring.title) if colouring.title in GLOSSARY else colouring.title
    grey = [
        html.Li([html.Span(className=f"swatch {style}", **aria(hidden="true")), shown], className="legend-entry")
        for shown, style in (("no value", "too-little"), ("never active", "unseen"))
    ]
    return html.Div(
        [
            html.Div(
                [html.Span([name, told], className="atlas-scale-name")]
                + [html.Div(steps, className="atlas-scale-bar", **aria(hidden="true"))]
                + [html.Div(written, className="atlas-scale-ticks")],
                className="atlas-scale",
            ),
            html.Ul(grey, className="legend"),
        ],
        className="atlas-legend",
    )
