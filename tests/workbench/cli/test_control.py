"""`monet control` from its arguments to files and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3", reason="the extra `control` is not installed")

from workbench.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["control", *arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_seeds_are_trained_each_in_its_folder_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mlp"
    assert run("train", str(out), "--policy", "mlp", "--model", "2", "--steps", "1000", "--seeds", "2") == 0
    assert f"The policies are in {out}/seed-*." in capsys.readouterr().out
    folders = [str(out / f"seed-{seed}") for seed in range(2)]
    assert run("evaluate", *folders, "--episodes", "5", "--json") == 0
    measured = json.loads(capsys.readouterr().out)
    assert list(measured) == folders
    assert {figures["policy"]["episodes"] for figures in measured.values()} == {5}
    assert run("evaluate", folders[0], "--episodes", "5") == 0
    assert "noise" in capsys.readouterr().out
    assert run("train", str(out), "--policy", "mlp", "--model", "2", "--steps", "1000", "--seeds", "2") == 2
    assert "holds a training already" in capsys.readouterr().err
    assert run("train", str(out), "--policy", "mlp", "--model", "2", "--steps", "1000", "--seeds", "2", "--resume") == 0


def test_a_policy_is_cloned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher, out = tmp_path / "mlp", tmp_path / "clone"
    run("train", str(teacher), "--policy", "mlp", "--steps", "1000")
    assert run("clone", str(out), "--teacher", str(teacher), "--rounds", "1") == 0
    assert (out / "model.safetensors").is_file()
    capsys.readouterr()
    assert run("clone", str(out), "--teacher", str(teacher)) == 2
    assert "exists already" in capsys.readouterr().err


def test_rules_are_tuned_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("baselines", "--model", "1", "--grid", "3", "--episodes", "20") == 0
    printed = capsys.readouterr().out
    assert "escapement" in printed
    assert "Model 1, 20 fresh episodes" in printed
