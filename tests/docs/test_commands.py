"""Every `monet` command that a page names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workbench.cli import app, corpus_app
from workbench.cli.control import control_app
from workbench.cli.fingerprint import fingerprint_app

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"(?:`|^    )(?:\.venv/bin/)?monet ((?:corpus |control |fingerprint )?[a-z][a-z-]*)", re.M)


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda page: page.name)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    groups = {"corpus": corpus_app, "control": control_app, "fingerprint": fingerprint_app}
    known = set(groups)
    for group, commands in (("", app), *((f"{name} ", group) for name, group in groups.items())):
        known |= {group + (one.name or one.callback.__name__) for one in commands.registered_commands if one.callback}
    assert set(NAMED.findall(page.read_text(encoding="utf-8"))) <= known
