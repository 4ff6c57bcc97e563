"""Commands that pages print work when pasted; terms come from the glossary."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from workbench.dashboard import parts
from workbench.report.glossary import GLOSSARY


def test_command_quotes_and_names_the_script_beside_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / ".venv" / "bin" / "monet"
    script.parent.mkdir(parents=True)
    script.touch(0o755)
    monkeypatch.setattr(sys, "executable", str(script.with_name("python")))
    monkeypatch.chdir(tmp_path)
    line = parts.command("analyze", "runs/my run")
    assert line == ".venv/bin/monet analyze 'runs/my run'"
    assert shlex.split(line)[-1] == "runs/my run"


def test_term_has_its_definition_a_hover_away() -> None:
    drawn = parts.term("mass", "summed score")
    assert (drawn.children, drawn.title) == ("summed score", GLOSSARY["mass"])
    with pytest.raises(KeyError):
        parts.term("no such term")


def test_a_split_character_stands_once_in_running_text() -> None:
    first, second = parts.token_shown("‹€ 1/2›", False), parts.token_shown("‹€ 2/2›", True)
    assert [first[0]["children"][0], first[0]["children"][1]["children"]] == ["€", "1/2"]
    assert (second[0]["children"]["children"], second[0]["props"]["title"]) == ("2/2", "€")
    assert parts.token_shown("‹€ 2/2›")[0]["children"][0] == "€"  # by itself, or first of a context


def test_message_starts_with_a_capital_letter_or_a_path_as_it_is() -> None:
    assert parts.message("Not found", "there is no list.").children == "There is no list."
    assert parts.message("Not found", "runs/demo has no label.").children == "runs/demo has no label."
