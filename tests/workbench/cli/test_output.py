"""Results on the screen: no number is cut on a narrow one, and JSON is JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from workbench.cli import output


@pytest.fixture(params=[20, 80, 200])
def console(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Console:
    """Output on screens of several widths."""
    console = Console(width=request.param, soft_wrap=True)
    monkeypatch.setattr(output, "out_console", console)
    return console


def test_print_table_cuts_no_number_and_no_heading(console: Console, capsys: Any) -> None:
    numbers = [f"+{n}.{n}{n}{n}4" for n in range(9)]
    head = ["label removed", *(f"label{n} positive" for n in range(9))]
    output.print_table("A title of several words", head, [["javascript", *numbers]])
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(number in shown for number in numbers)
    assert all(word in shown for name in head for word in name.split())


def test_print_table_goes_on_below_where_columns_do_not_fit(console: Console, capsys: Any) -> None:
    head = ["label", *(f"column{n}" for n in range(30))]
    rows = [[name, *(f"{name}.{n}" for n in range(30))] for name in ("a", "b")]
    output.print_table("Many", head, rows)
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= console.width
    blocks = [line for line in shown if line.startswith("┃")]
    assert [name for line in blocks for name in line.strip("┃ ").split(" ┃ ")[1:]] == head[1:]
    assert all("label" in line for line in blocks)
    titles = [line.strip() for line in shown if line.startswith("Many")]
    if console.width >= 80:  # a title is wrapped like a cell
        assert titles == ["Many", *["Many, continued"] * (len(blocks) - 1)]
    for row in rows:
        cells = [line.strip("│ ").split(" │ ")[1:] for line in shown if line.startswith(f"│ {row[0]} ")]
        assert [cell.strip() for line in cells for cell in line] == row[1:]


def test_print_table_wraps_text_between_words(console: Console, capsys: Any) -> None:
    words = [f"word{n}" for n in range(40)]
    output.print_table("Explanations", ["expert", "explanation"], [["0:1", " ".join(words)]])
    shown = capsys.readouterr().out
    assert all(word in shown for word in words)
    assert max(map(len, shown.splitlines())) <= max(console.width, len("| expert | explanation |"))


def test_print_table_without_rows_prints_its_head(console: Console, capsys: Any) -> None:
    output.print_table("Empty", ["expert", "documents"], [])
    assert "documents" in capsys.readouterr().out


def test_print_table_shows_markup_and_blanks_as_text(capsys: Any) -> None:
    odd = ["[red]x[/red]", "[/]", " lua", "a\nb", "a\u202eb", "e\u0301"]
    output.print_table("[bold]of[/]", ["label", "[b]n[/b]"], [[label, "1"] for label in odd])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[bold]of[/]", "[b]n[/b]"))
    assert all(label in shown for label in ("[red]x[/red]", "[/]", "·lua", "a↵b", "a\\u202eb", "e\\u0301"))
    assert "\u202e" not in shown


def test_print_json_writes_null_where_a_number_does_not_exist(capsys: Any) -> None:
    output.print_json({"rows": [{"p": float("nan"), "n": np.int64(3)}], "ratio": np.inf})
    assert json.loads(capsys.readouterr().out) == {"rows": [{"p": None, "n": 3}], "ratio": None}


def test_print_json_writes_no_nul(capsys: Any) -> None:
    output.print_json({"tokens": ["a\0"]})
    assert json.loads(capsys.readouterr().out) == {"tokens": ["a␀"]}
