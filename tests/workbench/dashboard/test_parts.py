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


def test_run_first_names_the_optional_dependencies() -> None:
    shown = str(parts.run_first("No map yet", "To see it", ".venv/bin/monet map RUN", "a minute", extra="map"))
    assert ".venv/bin/pip install -c constraints.txt -e '.[map]'" in shown


def test_term_has_its_definition_a_hover_away() -> None:
    drawn = parts.term("mass", "summed score")
    assert (drawn.children, drawn.title) == ("summed score", GLOSSARY["mass"])
    with pytest.raises(KeyError):
        parts.term("no such term")
