"""Every command that a page prints is one that the command line takes, options included."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from workbench import open_run
from workbench.cli import app
from workbench.dashboard.application import draw
from workbench.dashboard.context import Context
from workbench.dashboard.pages import PAGES, read_address


def _commands(node: Any) -> Iterator[str]:
    """The text of every element of the class `command`, of a frozen page."""
    if isinstance(node, list | tuple):
        for child in node:
            yield from _commands(child)
    elif isinstance(node, dict):
        props = node.get("props", {})
        if props.get("className") == "command":
            yield "".join(node["children"])
        for inside in (node.get("children"), props.get("children"), props.get("tree")):
            yield from _commands(inside)


def _printed(path: Path) -> set[str]:
    ctx = Context(open_run(path))
    links = [page.path for page in PAGES if "{" not in page.path]
    links += ["/labels/lua", f"/expert/0/{ctx.ranking(0)[0]}"]
    if ctx.analysed:
        links.append("/mask?without=lua,html&ratio=3&confirmed=1")
    drawn = [draw(ctx, read_address(*link.partition("?")[::2])) for link in links]
    assert {page.status for page in drawn} == {200}
    return {line for page in drawn for line in _commands(page.content)}


def _parse(line: str) -> None:
    command, (_, *words) = typer.main.get_command(app), shlex.split(line)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    command.make_context("monet", words)


@pytest.mark.parametrize("fixture", ["bare_run_path", "run_path"])
def test_every_command_on_a_page_is_taken(fixture: str, request: pytest.FixtureRequest) -> None:
    printed = _printed(request.getfixturevalue(fixture))
    assert len(printed) >= 5
    for line in printed:
        if "/pip " not in line:
            _parse(line)


def test_a_wrong_option_would_be_found() -> None:
    with pytest.raises(Exception, match="[Nn]o such option"):
        _parse("monet mask RUN --no-such-option")
