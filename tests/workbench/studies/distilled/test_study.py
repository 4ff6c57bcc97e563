"""The dense baseline as experts: what is shipped is one model with its figures, measured as the baselines are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.baselines import read_baselines
from workbench.baselines.dense import load_dense
from workbench.studies.distilled import DENSE, SETTINGS, SHIPPED, read_distilled
from workbench.studies.distilled.__main__ import main
from workbench.transcode import TranscodeSettings
from workbench.transcode.shipped import EXPERTS, unpack


def test_figures_are_those_of_the_settings_and_of_the_weights_as_shipped() -> None:
    figures = read_distilled().figures
    kept = figures["settings"] | {"layers": tuple(figures["settings"]["layers"])}
    assert TranscodeSettings(**kept) == SETTINGS
    assert figures["weights"] == "float16"
    assert figures["unrounded"]["rise"] == pytest.approx(figures["rise"], abs=1e-3)
    assert (SHIPPED / EXPERTS).stat().st_size < 6e6


def test_the_model_is_the_dense_one_but_for_its_mlps(tmp_path: Path) -> None:
    model = MonetForCausalLM.from_pretrained(unpack(SHIPPED, DENSE, tmp_path / "model")).eval()
    dense = load_dense(DENSE)
    assert model.config.dense_layers == []
    assert model.config.routing_groups == [range(2), range(2, 4)]
    own, theirs = model.state_dict(), dense.state_dict()
    shared = [name for name in theirs if ".mlp." not in name]
    assert len(shared) == 3 + 4 * 6  # embedding, norm and head; per layer attention and two norms
    assert all(torch.equal(own[name], theirs[name]) for name in shared)


def test_experts_are_measured_as_the_baselines_are() -> None:
    measured, baselines = read_distilled().measured, read_baselines()["models"]
    for name in ("experts", "neurons"):
        assert measured.keys() == baselines[name].keys()
        assert measured["curve"]["labels"] == baselines[name]["curve"]["labels"]
        assert measured["curve"]["budget"] == baselines[name]["curve"]["budget"]
    assert measured["units"] == baselines["experts"]["units"]


def test_a_corpus_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tmp_path / "none"), str(tmp_path / "work")]) == 2
    assert "none" in capsys.readouterr().err
    assert not (tmp_path / "work" / "config.json").exists()
