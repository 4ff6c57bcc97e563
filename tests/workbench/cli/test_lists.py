"""`monet list`: the lists beside a run, one of them, and what it says where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench import open_run
from workbench.cli import main
from workbench.notes import open_notes


def _said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr()
    return said.err if stop.value.code else said.out


def test_lists_are_shown(run_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for part in run_path.iterdir():
        (run / part.name).symlink_to(part)
    notes = open_notes(open_run(run))
    notes.create_list("mine", "of a kind", [(0, 17)])
    notes.tag(0, 17, "loops")
    assert "of a kind" in _said(["list", str(run)], capsys)
    assert "loops" in _said(["list", str(run), "mine"], capsys)
    (expert,) = json.loads(_said(["list", str(run), "mine", "--json"], capsys))["experts"]
    assert (expert["group"], expert["expert"], expert["tags"]) == (0, 17, ["loops"])
    assert [row["name"] for row in json.loads(_said(["list", str(run), "--json"], capsys))] == ["bookmarks", "mine"]
    assert "no list 'yours'" in _said(["list", str(run), "yours"], capsys)
