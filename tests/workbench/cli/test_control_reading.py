from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from workbench.cli import main
from workbench.store import Run
from workbench.studies.control.reading_result import ControlReading


@pytest.fixture
def read(reading: ControlReading, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Run, dict[str, Any]]]:
    """What the command asks to be read; it is given the reading that there is."""
    asked: list[tuple[Run, dict[str, Any]]] = []

    def give(run: Run, **how: Any) -> ControlReading:
        asked.append((run, how))
        return reading

    monkeypatch.setattr("workbench.studies.control.reading.read_control_rule", give)
    return asked


def test_rule_prints_what_was_read(
    policy_run: Run, read: list[tuple[Run, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["control", "rule", policy_run.model_path, str(policy_run.path), "--episodes", "40", "--draws", "1"])
    out = capsys.readouterr().out
    assert "Rule read off the experts: M = " in out
    assert "Without the experts of a scarce predator" in out
    ((run, how),) = read
    assert (run.path, how) == (policy_run.path, {"episodes": 40, "draws": 1, "progress": True})


def test_json_is_one_document(
    policy_run: Run,
    read: list[tuple[Run, dict[str, Any]]],
    reading: ControlReading,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["control", "rule", policy_run.model_path, str(policy_run.path), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["rule"] == reading.rule.to_json()
    assert len(shown["outcomes"]) == len(reading.outcomes)
    assert shown["kept"] == pytest.approx(reading.kept)


def test_another_policys_run_is_refused(
    policy_run: Run, tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(policy_folder, tmp_path / "other")
    with pytest.raises(SystemExit, match="2"):
        main(["control", "rule", str(tmp_path / "other"), str(policy_run.path)])
    assert "is a run of" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_made(
    policy_folder: Path, policy_run: Run, tmp_path: Path, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []

    def make(folder: str, run: Path, **how: Any) -> Run:
        made.append((folder, run, how))
        return policy_run

    monkeypatch.setattr("workbench.studies.control.run.read_policy", make)
    with pytest.raises(SystemExit, match="0"):
        main(["control", "rule", str(policy_folder), str(tmp_path / "new"), "--read-episodes", "7"])
    assert made == [(str(policy_folder), tmp_path / "new", {"episodes": 7, "progress": True})]
