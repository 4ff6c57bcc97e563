"""Every command that a page prints is one that the command line takes, options included, and can be pasted as it is.

So are those of errors: no page shows one in raw backticks, or as a bare `monet` where the shell has none.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import workbench
from workbench import open_run
from workbench.cli import app
from workbench.dashboard import parts
from workbench.dashboard.application import draw
from workbench.dashboard.context import Context
from workbench.dashboard.elements import html
from workbench.dashboard.freeze import freeze
from workbench.dashboard.pages import PAGES, read_address
from workbench.dashboard.parts import command, message, told, told_plainly
from workbench.errors import NotFoundError


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


BARE = re.compile(r"`(?:monet|--)|(?<![\w/-])monet [a-z-]+ \S")


def _words(node: Any) -> Iterator[str]:
    """Every text of a frozen page that is no code."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, list | tuple):
        for child in node:
            yield from _words(child)
    elif isinstance(node, dict) and node.get("tag") not in ("code", "pre"):
        props = node.get("props", {})
        for inside in (node.get("children"), props.get("children"), props.get("tree"), props.get("title")):
            yield from _words(inside)


def _drawn(path: Path) -> list[Any]:
    """Every page of a run, and one that cannot be shown: no expert has a label, or none by that ratio."""
    ctx = Context(open_run(path))
    links = [page.path for page in PAGES if "{" not in page.path]
    links += ["/labels/lua", f"/expert/0/{ctx.ranking(0)[0]}"]
    if ctx.analysed:
        links.append("/mask?without=lua,html&ratio=3&confirmed=1")
    drawn = [draw(ctx, read_address(*link.partition("?")[::2])) for link in links]
    assert {page.status for page in drawn} == {200}
    return [*drawn, draw(ctx, read_address("/mask", "without=lua&ratio=1"))]


def _printed(pages: list[Any]) -> set[str]:
    return {line for page in pages for line in _commands(page.content)}


def _parse(line: str) -> None:
    command, (_, *words) = typer.main.get_command(app), shlex.split(line)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    command.make_context("monet", words)


@pytest.mark.parametrize("fixture", ["bare_run_path", "run_path"])
def test_every_command_on_a_page_is_taken(fixture: str, request: pytest.FixtureRequest) -> None:
    drawn = _drawn(request.getfixturevalue(fixture))
    printed = _printed(drawn)
    assert len(printed) >= 5
    for line in printed:
        if "/pip " not in line:
            _parse(line)
    assert any(page.status != 200 and list(_commands(page.content)) for page in drawn)
    assert not [text for page in drawn for text in _words(page.content) if BARE.search(text)]


def test_a_wrong_option_would_be_found() -> None:
    with pytest.raises(Exception, match="[Nn]o such option"):
        _parse("monet mask RUN --no-such-option")


def test_an_error_is_told_with_its_command_as_code() -> None:
    shown = told("experts have labels once you have run `monet analyze runs/demo`; see `--ratio`.")
    assert shown[0] == "experts have labels once you have run "
    assert (shown[1].children, shown[1].className) == (command("analyze", "runs/demo"), "command")
    assert (shown[3].children, shown[3].className) == ("--ratio", "quoted")
    assert message("No", "nothing is quoted").children == "Nothing is quoted"
    assert told_plainly("run `monet analyze x`.") == f"run {command('analyze', 'x')}."


DASHBOARD = sorted(Path(parts.__file__).parent.rglob("*.py"))
TELL = {"message", "told", "told_plainly"}


def _untold(code: str) -> list[int]:
    """Lines where the words of an error go elsewhere than to what shows its commands as code."""
    tree = ast.parse(code)
    told_there = {
        id(argument)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in TELL
        for argument in call.args
    }
    return [
        call.lineno
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call) == "str(error)" and id(call) not in told_there
    ]


@pytest.mark.parametrize("path", DASHBOARD, ids=[str(path.relative_to(path.parents[2])) for path in DASHBOARD])
def test_every_error_is_told_that_way(path: Path) -> None:
    lines = _untold(path.read_text(encoding="utf-8"))
    assert not lines or path.name == "failures.py"  # its text_of hands the words on to messages


UNQUOTED = re.compile(r"(?:monet [a-z-]+|command\})[^`\"]* \{[a-z_.]*(?:path|run)\}")


def test_commands_in_messages_quote_paths_for_the_shell(tmp_path: Path) -> None:
    sources = sorted(Path(workbench.__file__).parent.rglob("*.py"))
    assert not [path for path in sources if UNQUOTED.search(path.read_text(encoding="utf-8"))]
    assert UNQUOTED.search('f"run `monet analyze {ctx.run.path}`"')
    with pytest.raises(NotFoundError) as missing:
        open_run(tmp_path / "my run")
    (line,) = _commands(freeze(html.P(told(str(missing.value)))))
    assert shlex.split(line)[1:] == ["export", "MODEL", "CORPUS", str(tmp_path / "my run")]


def test_an_error_shown_as_it_stands_would_be_found() -> None:
    assert _untold("def f():\n    return no_update, str(error)\n") == [2]
    assert _untold('message("No", str(error), "error")') == []
