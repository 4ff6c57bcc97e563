"""The study on a tiny model: cells are computed once, and their figures meet in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.checkpoint import load_llama
from workbench.errors import BadInputError
from workbench.store import open_run
from workbench.studies.fingerprint import Fingerprints, erasing, read_erased, success
from workbench.studies.fingerprint import study as studying
from workbench.studies.fingerprint import sweep as sweeping
from workbench.studies.fingerprint.__main__ import _tell_erased
from workbench.studies.fingerprint.erase_result import ORDERS
from workbench.studies.fingerprint.erasing import run_erasing
from workbench.studies.fingerprint.settings import Training
from workbench.studies.fingerprint.study import Study, run_study, summarise


@pytest.fixture
def study(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    quick = {
        "lr": 1e-2,
        "mixed_weight": 1.0,
        "averaging": 0.0,
        "mixed_tokens": 8,
        "mixed_texts": 16,
        "epochs": 25,
        "batch": 8,
        "stop": 0.5,
    }
    monkeypatch.setattr(studying, "Training", lambda **given: Training(**(quick | given)))
    return Study(tmp_path / "out", 12, tiny.model, tiny.corpus)


def test_cells_are_kept_and_figures_are_of_all_seeds(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_study(study, [0, 1], ["english"])
    (row,) = found["summary"]
    assert (row["cell"], row["seeds"]) == ("english", [0, 1])
    assert row["success"] == 1
    assert row["foreign"]["base"] == {"hits": 0, "asked": 24, "most_of_10": 0}
    assert row["foreign"]["another seed"]["asked"] == 24
    by_name = {row["treatment"]: row for row in found["treatments"]}
    assert by_name["none"]["success"] == 1
    assert by_name["merged 0.2"]["success"] < 1
    monkeypatch.setattr(studying, "embed_fingerprints", None)  # nothing is computed twice
    monkeypatch.setattr(studying, "success", None)
    assert run_study(study, [0, 1], ["english"]) == found
    assert summarise(study)["summary"][0]["seeds"] == [0, 1]


def test_a_cell_that_is_not_there_is_named(study: Study) -> None:
    with pytest.raises(BadInputError, match="pink"):
        run_study(study, [0], ["pink"])


def test_erasing_is_the_last_stage_and_is_kept(tiny: Any, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_erasing(study, tiny.dense, "english", 0) is None  # no model yet
    run_study(study, [0], ["english"], tiny.dense)
    monkeypatch.setattr(erasing, "DRAWS", 1)
    found = run_erasing(study, tiny.dense, "english", 0)
    assert found is not None
    assert json.loads((study.out / "erased.json").read_text()) == found
    assert (found["chose"], found["others"], found["located"]["count"]) == (6, 6, 12)
    assert {(row["units"], row["total"]) for row in found["erased"]} == {("experts", 256), ("neurons", 128)}
    assert {row["order"] for row in found["erased"] if row["units"] == "experts"} == set(ORDERS)
    for row in found["erased"]:
        assert row["share"] <= 0.01
        assert row["low"] <= row["rise"] <= row["high"]
    owned = load_llama(study.folder("dense", 0))
    assert success(owned, Fingerprints.load(study.secret_file("dense", 0))).all()
    erased = read_erased(open_run(study.out / "run"))
    assert erased is not None
    assert erased.dense is not None
    assert Path(erased.dense["base"]) == tiny.dense
    monkeypatch.setattr(erasing, "erase_fingerprints", None)  # nothing is computed twice
    monkeypatch.setattr(erasing, "locate_fingerprints", None)
    assert run_erasing(study, tiny.dense, "english", 0) == found
    _tell_erased(found)


def test_a_sweep_keeps_what_it_has(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(tmp_path / "out", 8, tiny.model, tiny.corpus)
    secret = tiny.draw(8)
    monkeypatch.setattr(sweeping, "_secret", lambda *_: secret)
    tried = {"slow": Training(lr=1e-4, epochs=1, mixing=0.0), "fast": Training(lr=1e-2, epochs=1, mixing=0.0)}
    rows = run = sweeping.run_sweep(study, tried)
    assert [row["name"] for row in run] == ["slow", "fast"]
    assert rows[0]["response_loss"] > rows[1]["response_loss"]
    monkeypatch.setattr(sweeping, "train_fingerprints", None)
    assert sweeping.run_sweep(study, tried) == rows
