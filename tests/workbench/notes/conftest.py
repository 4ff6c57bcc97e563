"""The notes of a run, in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import Run, open_run
from workbench.notes import Notes, open_notes


@pytest.fixture
def run(run_path: Path, tmp_path: Path) -> Run:
    """A run that notes may be kept beside: its files are those of the shared one."""
    (tmp_path / "run").mkdir()
    for part in run_path.iterdir():
        (tmp_path / "run" / part.name).symlink_to(part)
    return open_run(tmp_path / "run")


@pytest.fixture
def notes(run: Run) -> Notes:
    """Its notes, none so far."""
    return open_notes(run)
