"""Pieces that several pages share. Text of a corpus or prompt goes in as a child, so the browser never parses it."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import html

from ..errors import NotFoundError
from ..report.glossary import GLOSSARY
from ..report.kinds import KINDS
from ..report.palette import NO_LABEL_COLOUR
from .context import Context
from .links import Address, glossary_link

Child = Any


def aria(**values: str | None) -> dict[str, Any]:
    """Attributes for those who hear or feel the page: ``aria(label=...)`` is ``aria-label``; None leaves one out."""
    return {f"aria-{name}": value for name, value in values.items() if value is not None}


def term(name: str, shown: str = "") -> html.A:
    """A term of the glossary, ``shown`` under another form if given: its definition is a hover away, and a click leads
    to the glossary.

    Raises:
        KeyError: the glossary lacks the term.
    """
    return html.A(shown or name, href=glossary_link(name), title=GLOSSARY[name], className="term")


def swatch(colour: str) -> html.Span:
    """A coloured square beside a name; decoration only."""
    return html.Span(className="swatch", style={"backgroundColor": colour}, **aria(hidden="true"))


def label_mark(label: str, colour: str, without: str = "generalist") -> html.Span:
    """A label's name with its colour; ``without`` is shown for an expert that has none."""
    return html.Span([swatch(colour if label else NO_LABEL_COLOUR), label or without], className="label-mark")


def fact(name: Child, value: Child, note: Child = None) -> html.Div:
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
    """A row of numbers."""
    return html.Dl(list(items), className="facts")


def panel(title: Child, children: Child, note: Child = None, kind: str = "") -> html.Section:
    """A titled part of a page; ``kind`` is a CSS class."""
    heading = html.Div([html.H2(title), html.P(note, className="note") if note else None], className="panel-heading")
    return html.Section([heading, html.Div(children, className="panel-body")], className=f"panel {kind}".strip())


def message(title: str, text: Child, kind: str = "info") -> dmc.Alert:
    """A message box; its text starts with a capital letter, unlike the errors it may come from."""
    if isinstance(text, str):
        text = text[:1].upper() + text[1:]
    colour = {"info": "blue", "warning": "yellow", "error": "red"}[kind]
    return dmc.Alert(text, title=title, color=colour, variant="light", className=f"message message-{kind}")


def _side(at: int, numeric: int) -> str:
    return "number" if at >= numeric else ""


def _heading(cell: Child, side: str) -> html.Th | html.Td:
    return html.Td() if cell is None else html.Th(cell, scope="col", className=side)


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], caption: str, numeric: int = 1) -> html.Div:
    """A plain table; columns from ``numeric`` on hold numbers. A column headed None is decoration: a bar or links."""
    drawn = html.Table(
        [
            html.Caption(caption, className="visually-hidden"),
            html.Thead(html.Tr([_heading(cell, _side(at, numeric)) for at, cell in enumerate(head)])),
            html.Tbody(
                [html.Tr([html.Td(cell, className=_side(at, numeric)) for at, cell in enumerate(row)]) for row in rows]
            ),
        ],
        className="plain-table",
    )
    return scrolling(drawn, caption)


def bar(share: float, colour: str) -> html.Span:
    """A bar over a ``share`` (0..1) of its cell, beside the number that it shows."""
    width = f"{100 * min(max(share, 0.0), 1.0):.2f}%"
    return html.Span(
        html.Span(className="bar-fill", style={"width": width, "backgroundColor": colour}),
        className="bar",
        **aria(hidden="true"),
    )


def picture(children: Child, description: str) -> html.Div:
    """A figure, with a description for those who cannot see it; wide ones scroll, with the keyboard too."""
    return html.Div(children, role="figure", className="picture", tabIndex="0", **aria(label=description))


def scrolling(children: Child, name: str) -> html.Div:
    """Something wide that scrolls sideways, with the keyboard too; ``name`` is what screen readers call it."""
    return html.Div(children, className="wide", tabIndex="0", role="region", **aria(label=name))


def files(name: str, address: Callable[[str], str]) -> html.Span:
    """Links to a report in each format; ``address`` returns a format's address."""
    links = [html.A(kind, href=address(kind), download="", **aria(label=f"{name} as {kind}")) for kind in KINDS]
    return html.Span([name, *links], className="report-links")


def command(*words: object) -> str:
    """A ``monet`` command to paste into a shell in the folder where the dashboard was started."""
    program = "monet"
    beside = Path(sys.executable).with_name(program)
    if beside.is_file() and shutil.which(program) != str(beside):
        program = str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
    return shlex.join([program, *map(str, words)])


def run_first(title: str, purpose: str, line: str, takes: str, extra: str = "") -> dmc.Alert:
    """Says what is missing from a page and which command computes it.

    Args:
        title: what is missing, such as "No map yet".
        purpose: what the command is for: "To see a map of the experts".
        line: the command, as ``command`` writes it.
        takes: how long it takes on the demo run with two CPU cores.
        extra: the optional dependencies it needs, by their name in setup.cfg.
    """
    text: list[Child] = [f"{purpose}, run ", html.Code(line, className="command")]
    text.append(f" (about {takes} for the demo run on two CPU cores), then reload this page.")
    if extra:
        pip = str(Path(shlex.split(line)[0]).with_name("pip"))
        install = shlex.join([pip, "install", "-c", "constraints.txt", "-e", f".[{extra}]"])
        text += [f" It needs the optional dependencies “{extra}”: ", html.Code(install, className="command"), "."]
    return message(title, text)


def unanalysed(run: object) -> dmc.Alert:
    """Says what to run where the labels of the experts are not known yet; ``run`` is the folder of the run."""
    return run_first("Not analysed yet", "To see each expert's label", command("analyze", run), "2 minutes")


def tabs(name: str, links: Iterable[tuple[str, str, bool]], before: str = "") -> html.Nav:
    """Links to alternative views of the same thing.

    Args:
        name: what screen readers call the choice.
        links: text, address and whether it is the view shown, for each.
        before: a word in front of them.
    """
    drawn = [
        html.A(
            text,
            href=href,
            className="group-link" + (" chosen" if chosen else ""),
            **aria(current="true" if chosen else None),
        )
        for text, href, chosen in links
    ]
    return html.Nav([html.Span(before) if before else None, *drawn], className="group-links", **aria(label=name))


def group_links(ctx: Context, group: int, address: Callable[[int], str]) -> html.Nav:
    """Links to the same view of every layer group; ``address`` returns a group's."""
    links = [(f"{other}", address(other), other == group) for other in ctx.run.groups]
    return tabs("layer group", links, before="layer group")


def chosen_group(ctx: Context, address: Address) -> int:
    """The group a query asks for; the first one by default.

    Raises:
        NotFoundError: the run has no such group.
    """
    groups = {str(group): group for group in ctx.run.groups}
    asked = address.query.get("group", str(ctx.run.groups[0]))
    if asked not in groups:
        raise NotFoundError(f"there is no group {asked!r}; this run has {', '.join(groups)}.")
    return groups[asked]
