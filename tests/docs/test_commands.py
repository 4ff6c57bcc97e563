"""Every `monet` command that a page names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workbench.cli import app, corpus_app

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"(?:`|^    )(?:\.venv/bin/)?monet ((?:corpus )?[a-z][a-z-]*)", re.M)


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda page: page.name)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {"corpus", *(f"corpus {command.name}" for command in corpus_app.registered_commands)}
    assert set(NAMED.findall(page.read_text(encoding="utf-8"))) <= known
