"""`monet analyze`, `monet mask`, `monet curve` and `monet overlap` print what they compute and keep."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from workbench import open_run
from workbench.analysis import (
    bootstrap_curve,
    bootstrap_mask,
    label_overlap,
    read_analysis_summary,
    read_curve,
    read_mask,
)
from workbench.cli import app
from workbench.store import Run


@pytest.fixture
def run(run_path: Path, tmp_path: Path) -> Path:
    """A run of three labels that a test may add to."""
    return shutil.copytree(run_path, tmp_path / "run")


def invoke(*arguments: Any) -> str:
    """What a command prints on standard output."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_mask_prints_intervals_perplexity_and_accuracy(run: Path) -> None:
    found = json.loads(invoke("mask", run, "--json"))
    kept = read_mask(open_run(run))
    assert kept is not None
    assert found == kept.to_json() | {"intervals": json.loads(json.dumps(bootstrap_mask(kept).to_json()))}
    assert np.log(found["perplexity"]) == pytest.approx(np.array(found["baseline"]) + np.array(found["matrix"]))
    shown = invoke("mask", run)
    assert f"{kept.perplexity[1, 0]:.1f}" in shown
    assert f"{kept.accuracy[2, 1]:.1%}" in shown
    assert f"{kept.delta_target:+.4f}" in shown
    assert "Activity-matched control: target" in shown


@pytest.mark.parametrize("order", ["preference", "ratio"])
def test_curve_prints_what_the_run_keeps(run: Path, order: str) -> None:
    found = json.loads(invoke("curve", run, "--order", order, "--budget", "0.001", "--json"))
    kept = read_curve(open_run(run))
    assert kept is not None
    assert kept.order == order
    assert kept.budget == 0.001
    assert found == json.loads(json.dumps(kept.to_json() | {"intervals": bootstrap_curve(kept).to_json()}))


def test_mask_and_curve_name_the_labels_they_skip(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = open_run(run).documents
    skipped = documents["label"].iloc[-1]
    fewer = documents[(documents["label"] != skipped) | ~documents["label"].duplicated()]
    monkeypatch.setattr(Run, "documents", fewer)
    for command in ("mask", "curve"):
        assert (
            f"Skipped, with fewer than two documents to choose experts on one and measure on the other: {skipped}"
            in (invoke(command, run, "--name", "fewer"))
        )
        assert json.loads(invoke(command, run, "--name", "fewer", "--json"))["skipped"] == [skipped]


def test_curve_prints_where_it_is_read(run: Path) -> None:
    for budget, expected in (("0.0001", "Where the others' loss has risen by 0.0001"), ("50", "never rises by 50")):
        shown = invoke("curve", run, "--budget", budget)
        assert expected in shown
        kept = read_curve(open_run(run))
        assert kept is not None
        assert all(f"{mean:+.4f}" in shown for mean in kept.means["target"])


def test_overlap_prints_the_tables(run: Path) -> None:
    expected = label_overlap(open_run(run), 0.4)
    assert json.loads(invoke("overlap", run, "--coverage", 0.4, "--json")) == expected.to_json()
    shown = invoke("overlap", run, "--coverage", 0.4)
    for table in (expected.jaccard, expected.shared):
        assert f"{table.iloc[0, 2]:.3f}" in shown
    assert all(str(count) in shown for count in expected.core)


def test_commands_keep_results_under_a_name(run: Path) -> None:
    opened = open_run(run)
    usual = read_mask(opened)
    found = json.loads(invoke("analyze", run, "--ratio", 4, "--permutations", 0, "--name", "strict", "--json"))
    named = read_analysis_summary(opened, "strict")
    assert named is not None
    assert found == named.to_json()
    invoke("mask", run, "--label", opened.labels[0], "--name", "strict")
    invoke("curve", run, "--name", "strict")
    masked, unnamed = read_mask(opened, "strict"), read_mask(opened)
    assert masked is not None
    assert usual is not None
    assert unnamed is not None
    assert masked.rows == opened.labels[:1]
    assert unnamed.to_json() == usual.to_json()
    assert read_curve(opened, "strict") is not None
    assert read_curve(opened) is None


def test_commands_say_which_documents_a_sample_is_of(run: Path) -> None:
    """In words and as JSON, and nothing of it where all documents are read."""
    shown = " ".join(invoke("analyze", run, "--permutations", "5", "--sample", "3").split())
    kept = read_analysis_summary(open_run(run))
    assert kept is not None
    assert kept.drawn is not None
    assert kept.drawn.per_label == 3
    assert f"Read: {kept.drawn}." in shown
    assert f"Precision: {kept.precision}." in shown
    found = json.loads(invoke("analyze", run, "--permutations", "0", "--sample", "3", "--json"))
    assert found["sample"] == kept.drawn.to_json()
    assert set(found["precision"]) == {"experts", "median", "bound"}
    found = json.loads(invoke("mask", run, "--sample", "4", "--json"))
    assert found["sample"]["per_label"] == 4
    assert "Read:" in invoke("curve", run, "--sample", "4")
    everything = json.loads(invoke("analyze", run, "--permutations", "0", "--json"))
    assert "sample" not in everything
    assert "Read:" not in invoke("analyze", run, "--permutations", "0")


@pytest.mark.parametrize("option", [["--sample", "4"], ["--resume"]])
def test_what_belongs_to_losses_does_not_go_with_accuracy(run: Path, option: list[str]) -> None:
    done = CliRunner().invoke(app, ["mask", str(run), "--measure", "accuracy", *option])
    assert "--sample and --resume belong to --measure loss" in str(done.exception)


def test_an_interrupted_analysis_says_how_to_go_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    arguments = ["analyze", str(run), "--permutations", "5"]
    monkeypatch.setattr("sys.argv", ["monet", *arguments])
    with monkeypatch.context() as patch:
        patch.setattr("workbench.analysis.specialisation.evidence.Evidence.__call__", interrupted)
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 130
    said = " ".join(done.stderr.split("Go on with:")[1].split())
    assert said == f"monet {' '.join(arguments)} --resume"
    assert "All groups" in invoke(*arguments, "--resume")


def test_a_mask_that_is_broken_off_says_how_to_go_on_where_it_is_stored(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.analysis.mask_labels", broken)
    label = open_run(run).labels[0]
    for options, told in (([], True), (["--label", label], False), (["--label", label, "--name", "one"], True)):
        arguments = ["mask", str(run), *options]
        monkeypatch.setattr("sys.argv", ["monet", *arguments])
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code != 0
        assert ("--resume" in done.stderr) == told
