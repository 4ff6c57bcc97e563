"""The bench of precision: nothing differs from itself, and half precision differs a little, in every figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.analysis.run_model import load_run_model
from workbench.bench import precision
from workbench.store import open_run


def test_a_model_agrees_with_itself(run_path: Path) -> None:
    run = open_run(run_path)
    model = load_run_model(run, device="cpu")
    found = precision.compare(run, model, model, documents=4)
    assert set(found["shared"]) == set(found["same_top"]) == {1.0}
    assert set(found["probability"]) == {found["kl"]} == {0.0}
    assert found["loss"] == found["loss_narrow"] > 0
    assert found["same_token"] == 1


def test_half_precision_is_told_apart(run_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = open_run(run_path).labels[0]
    precision.main([str(run_path), "--documents", "4", "--label", label, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert all(0.5 < share < 1 for share in found["shared"])
    assert 0 < found["kl"] < 0.1
    assert 0 < abs(found["loss"] - found["loss_narrow"]) < 0.05
    assert set(found["exclusivity"]) == {"float32", "bfloat16"}
    assert label in precision.tables(found)[-1][0]
