"""Pieces that several pages share. Text of a corpus or prompt goes in as a child, so the browser never parses it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import NotFoundError
from ..report.glossary import GLOSSARY
from ..report.kinds import KINDS
from ..report.labels import look_alikes, shortened
from ..report.palette import NO_LABEL_COLOUR
from ..store.token_text import visible_label, visible_shares
from ..store.transcoded import Transcoded
from .context import Context
from .elements import Element, Widget, dmc, html
from .freeze import plain
from .links import Address, glossary_link, label_link

Child = Any
_QUOTED = re.compile(r"`([^`\n]+)`")  # a command or an option, as errors quote them
LISTED_ALIKE = 4  # groups of labels that look alike, named
LONGEST_NAME, LONGEST_TITLE = 40, 1000  # characters of a label in running text, and of what pointing at it shows


def aria(**values: str | None) -> dict[str, Any]:
    """Attributes for those who hear or feel the page: ``aria(label=...)`` is ``aria-label``; None leaves one out."""
    return {f"aria-{name}": value for name, value in values.items() if value is not None}


def term(name: str, shown: str = "") -> Element:
    """A term of the glossary, ``shown`` under another form if given: its definition is a hover away, and a click leads
    to the glossary.

    Raises:
        KeyError: the glossary lacks the term.
    """
    return html.A(shown or name, href=glossary_link(name), title=GLOSSARY[name], className="term")


def transcoded_note(transcoded: Transcoded | None, of: str = "") -> Child:
    """How well a transcoded model stands for its teacher; None for a run of any other model. ``of`` names a run."""
    if transcoded is None:
        return None
    phrases = [term(name, text) if name else text for text, name in transcoded.phrases()]
    return html.P([f"{of}: ", *phrases] if of else phrases, className="transcoded", role="note")


def token_shown(text: str, follows: bool = False) -> list[Child]:
    """A token's text with blanks and controls shown. Each token of a split character shows the character with its share
    of it, the later ones in italics; in running text these show their share alone, so that it reads as the text.

    Args:
        text: of the token.
        follows: the token before it is shown in front of it.
    """
    return [_share(shown, share, follows) if share else shown for shown, share in visible_shares(text)]


def _share(character: str, share: str, follows: bool) -> Child:
    if share[0] == "1":
        return plain("span", [character, plain("sub", share)], className="share")
    if follows:
        return plain("span", plain("sub", share), className="share later", title=character)
    return plain("span", [character, plain("sub", share)], className="share later")


def swatch(colour: str) -> Element:
    """A coloured square beside a name; decoration only."""
    return html.Span(className="swatch", style={"backgroundColor": colour}, **aria(hidden="true"))


def label_mark(label: str, colour: str, without: str = "no label") -> Element:
    """A label's name with its colour; ``without`` is shown for an expert that has none."""
    shown = visible_label(label)
    short = shortened(shown, LONGEST_NAME)
    title = None if short == shown else shown[:LONGEST_TITLE]
    return html.Span(
        [swatch(colour if label else NO_LABEL_COLOUR), short or without], className="label-mark", title=title
    )


def source_mark(source: str) -> Element:
    """Where a document is from, in words of its corpus."""
    return html.Span(visible_label(source), className="source", title=visible_label(source))


def alike_note(labels: Sequence[str], label: str | None = None) -> Child:
    """A note on labels that look alike, or on those that look like ``label``; None where there are none."""
    groups = [group for group in look_alikes(labels) if label is None or label in group]
    if not groups:
        return None
    named: list[Child] = []
    for group in groups[:LISTED_ALIKE]:
        named.append("; " if named else "")
        for at, one in enumerate(group):
            name = shortened(visible_label(one), LONGEST_NAME)
            named += [" and " if at else "", html.A(f"“{name}”", href=label_link(one))]
    more = f"; and {len(groups) - LISTED_ALIKE:,} more groups" if len(groups) > LISTED_ALIKE else ""
    told = f"{more}. The corpus spells them differently, so they are kept apart; · is a space."
    return message("Labels that look alike", html.Span([*named, told]))


def fact(name: Child, value: Child, note: Child = None) -> Element:
    """A number with its name under it."""
    return html.Div(
        [
            html.Dt(name, className="fact-name"),
            html.Dd(value, className="fact-value"),
            html.Dd(note, className="fact-note") if note else None,
        ],
        className="fact",
    )


def facts(items: Iterable[Element]) -> Element:
    """A row of numbers."""
    return html.Dl(list(items), className="facts")


def panel(title: Child, children: Child, note: Child = None, kind: str = "") -> Element:
    """A titled part of a page; ``kind`` is a CSS class."""
    heading = html.Div([html.H2(title), html.P(note, className="note") if note else None], className="panel-heading")
    return html.Section([heading, html.Div(children, className="panel-body")], className=f"panel {kind}".strip())


def message(title: str, text: Child, kind: str = "info") -> Widget:
    """A message box; its text starts with a capital letter, unlike the errors it may come from, or with a path.

    Commands that a text quotes are shown as ``told`` shows them.
    """
    if isinstance(text, str):
        text = told(text if "/" in text.partition(" ")[0] else text[:1].upper() + text[1:])
    colour = {"info": "blue", "warning": "yellow", "error": "red"}[kind]
    return dmc.Alert(text, title=title, color=colour, variant="light", className=f"message message-{kind}")


def _side(at: int, numeric: int) -> str:
    return "number" if at >= numeric else ""


def _heading(cell: Child, side: str) -> Element:
    return html.Td() if cell is None else html.Th(cell, scope="col", className=side)


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], caption: str, numeric: int = 1) -> Element:
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


def bar(share: float, colour: str) -> Element:
    """A bar over a ``share`` (0..1) of its cell, beside the number that it shows."""
    width = f"{100 * min(max(share, 0.0), 1.0):.2f}%"
    return html.Span(
        html.Span(className="bar-fill", style={"width": width, "backgroundColor": colour}),
        className="bar",
        **aria(hidden="true"),
    )


def picture(children: Child, description: str) -> Element:
    """A figure, with a description for those who cannot see it; wide ones scroll, with the keyboard too."""
    return html.Div(children, role="figure", className="picture", tabIndex="0", **aria(label=description))


def scrolling(children: Child, name: str) -> Element:
    """Something wide that scrolls sideways, with the keyboard too; ``name`` is what screen readers call it."""
    return html.Div(children, className="wide", tabIndex="0", role="region", **aria(label=name))


def files(name: str, address: Callable[[str], str]) -> Element:
    """Links to a report in each format; ``address`` returns a format's address."""
    links = [html.A(kind, href=address(kind), download="", **aria(label=f"{name} as {kind}")) for kind in KINDS]
    return html.Span([name, *links], className="report-links")


def command(*words: object) -> str:
    """A ``monet`` command to paste into a shell in the folder where the dashboard was started."""
    return shlex.join([_program(sys.executable, Path.cwd(), os.environ.get("PATH")), *map(str, words)])


def told(text: str) -> Child:
    """The words of an error for a page: what stands in backticks is code, and a `monet` command is one to paste.

    Examples:
        >>> from workbench.dashboard.parts import told
        >>> told("there is no label 'x'.")
        "there is no label 'x'."
        >>> told("export it with `--keep-routing all`.")
        ['export it with ', html.Code('--keep-routing all', className='quoted'), '.']
    """
    pieces = _QUOTED.split(text)  # words and what is quoted by turns
    shown = [_quoted(piece) if at % 2 else piece for at, piece in enumerate(pieces) if piece]
    return text if len(pieces) == 1 else shown


def told_plainly(text: str) -> str:
    """``told`` where only text can stand, as under a field."""
    return _QUOTED.sub(lambda quoted: _pasted(quoted[1]), text)


def _quoted(text: str) -> Element:
    return html.Code(_pasted(text), className="quoted" if _pasted(text) == text else "command")


def _pasted(text: str) -> str:
    """A quoted text; where it is a command, as a shell takes it in the folder where the dashboard was started."""
    program, blank, rest = text.partition(" ")
    return f"{command()}{blank}{rest}" if program == "monet" else text


@lru_cache(maxsize=1)
def _program(python: str, folder: Path, _path: str | None) -> str:
    """How a shell in a folder calls ``monet``; to look along its path takes longer than to draw a panel."""
    program = "monet"
    beside = Path(python).with_name(program)
    if beside.is_file() and shutil.which(program) != str(beside):
        program = str(beside.relative_to(folder) if beside.is_relative_to(folder) else beside)
    return program


IN_PLACE = "in-place"  # class of links to the same page, after which it stays where it is scrolled to


def keeping(*fields: str) -> dict[str, str]:
    """Attribute of a link to another view of its page: these fields of its address are those of the page's own when it
    is followed, as scripts have set them by then."""
    return {"data-keeps": " ".join(fields)} if fields else {}


def tabs(name: str, links: Iterable[tuple[str, str, bool]], before: str = "", keeps: Sequence[str] = ()) -> Element:
    """Links to alternative views of the same thing, after which the page stays where it is.

    Args:
        name: what screen readers call the choice.
        links: text, address and whether it is the view shown, for each.
        before: a word in front of them.
        keeps: fields of the page's address that scripts set, and that all views have.
    """
    drawn = [
        html.A(
            text,
            href=href,
            className=f"group-link {IN_PLACE}" + (" chosen" if chosen else ""),
            **keeping(*keeps),
            **aria(current="true" if chosen else None),
        )
        for text, href, chosen in links
    ]
    return html.Nav([html.Span(before) if before else None, *drawn], className="group-links", **aria(label=name))


def group_links(
    ctx: Context, group: int, address: Callable[[int], str], of: str = "", keeps: Sequence[str] = ()
) -> Element:
    """Links to the same view of every layer group; ``address`` returns a group's, and ``keeps`` is as in ``tabs``.

    Where a page has several, ``of`` tells screen readers what each belongs to.
    """
    links = [(f"{other}", address(other), other == group) for other in ctx.run.groups]
    return tabs(f"layer group {of}".strip(), links, before="layer group", keeps=keeps)


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
