"""Pieces that several pages share. Text of a corpus or prompt goes in as a child, so the browser never parses it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html

from ..errors import WorkbenchError
from ..report.files import KINDS
from ..report.palette import GENERALIST
from .context import Context
from .links import Address

Child = Any


def aria(**values: str | None) -> dict[str, Any]:
    """Attributes for those who hear or feel the page: ``aria(label=...)`` is ``aria-label``; None leaves one out."""
    return {f"aria-{name}": value for name, value in values.items() if value is not None}


def swatch(colour: str) -> html.Span:
    """A coloured square beside a name; decoration only."""
    return html.Span(className="swatch", style={"backgroundColor": colour}, **aria(hidden="true"))


def label_mark(label: str, colour: str, without: str = "generalist") -> html.Span:
    """A label's name with its colour, or what is said of an expert without one."""
    return html.Span([swatch(colour if label else GENERALIST), label or without], className="label-mark")


def number(value: float, digits: int) -> str:
    """A number as it is read: ``–`` where there is none, ``∞`` where it has no end."""
    if math.isnan(value):
        return "–"
    return f"{value:,.{digits}f}" if math.isfinite(value) else "∞"


def fact(name: str, value: Child, note: str | None = None) -> html.Div:
    """A number with its name under it."""
    return html.Div(
        [
            html.Dt(name, className="fact-name"),
            html.Dd(value, className="fact-value"),
            html.Dd(note, className="fact-note") if note else None,
        ],
        className="fact",
    )


def facts(items: Iterable[html.Div]) -> html.Dl:
    """A row of facts."""
    return html.Dl(list(items), className="facts")


def panel(title: str, children: Child, note: str | None = None, kind: str = "") -> html.Section:
    """A titled part of a page; ``kind`` is a class for its looks."""
    heading = html.Div([html.H2(title), html.P(note, className="note") if note else None], className="panel-heading")
    return html.Section([heading, html.Div(children, className="panel-body")], className=f"panel {kind}".strip())


def message(title: str, text: Child, kind: str = "info") -> dmc.Alert:
    """A visible message; text starts with a capital however it was raised."""
    if isinstance(text, str):
        text = text[:1].upper() + text[1:]
    colour = {"info": "blue", "warning": "yellow", "error": "red"}[kind]
    return dmc.Alert(text, title=title, color=colour, variant="light", className=f"message message-{kind}")


def _side(at: int, numeric: int) -> str:
    return "number" if at >= numeric else ""


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], caption: str, numeric: int = 1) -> html.Table:
    """A plain table; columns from ``numeric`` on are set as numbers."""
    return html.Table(
        [
            html.Caption(caption, className="visually-hidden"),
            html.Thead(
                html.Tr([html.Th(cell, scope="col", className=_side(at, numeric)) for at, cell in enumerate(head)])
            ),
            html.Tbody(
                [html.Tr([html.Td(cell, className=_side(at, numeric)) for at, cell in enumerate(row)]) for row in rows]
            ),
        ],
        className="plain-table",
    )


def bar(share: float, colour: str) -> html.Span:
    """A bar of ``share`` (0..1) of its cell; the number stands beside it."""
    width = f"{100 * min(max(share, 0.0), 1.0):.2f}%"
    return html.Span(
        html.Span(className="bar-fill", style={"width": width, "backgroundColor": colour}),
        className="bar",
        **aria(hidden="true"),
    )


def picture(children: Child, description: str) -> html.Div:
    """A drawn figure with its description for those who cannot see it."""
    return html.Div(children, role="figure", className="picture", **aria(label=description))


def files(name: str, address: Callable[[str], str]) -> html.Span:
    """Links to a report in every format; ``address`` gives a format's."""
    links = [html.A(kind, href=address(kind), download="", **aria(label=f"{name} as {kind}")) for kind in KINDS]
    return html.Span([name, *links], className="report-links")


def run_first(title: str, what: str, command: str) -> dmc.Alert:
    """Says what is missing from a page and which command makes it."""
    return message(title, [f"{what} once you have run ", html.Code(command), "."])


def unanalysed(run: object) -> dmc.Alert:
    """Says what to run where the labels of the experts are not known yet; ``run`` is the folder of the run."""
    return run_first("Not analysed yet", "It is known which label an expert is specialised in", f"monet analyze {run}")


def group_links(ctx: Context, group: int, address: Callable[[int], str]) -> html.Nav:
    """Links to the same view of every layer group; ``address`` gives a group's."""
    links = [
        html.A(
            f"{other}",
            href=address(other),
            className="group-link" + (" chosen" if other == group else ""),
            **aria(label=f"layer group {other}", current="true" if other == group else None),
        )
        for other in ctx.run.groups
    ]
    return html.Nav([html.Span("layer group"), *links], className="group-links", **aria(label="layer group"))


def chosen_group(ctx: Context, address: Address) -> int:
    """The group a query asks for; the first one by default.

    Raises:
        WorkbenchError: the run has no such group.
    """
    groups = {str(group): group for group in ctx.run.groups}
    asked = address.query.get("group", str(ctx.run.groups[0]))
    if asked not in groups:
        raise WorkbenchError(f"there is no group {asked!r}; this run has {', '.join(groups)}.")
    return groups[asked]
