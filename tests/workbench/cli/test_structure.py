"""`monet structure`, `map` and `coactive`, as a person types them."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from workbench import open_run
from workbench.analysis import coactive, read_map, read_map_summary, read_structure
from workbench.analysis.sums import DocumentSums, KeyRange
from workbench.cli import app


def invoke(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def run(bare_run_path: Path, tmp_path: Path) -> Path:
    """A copy of a run without results."""
    return shutil.copytree(bare_run_path, tmp_path / "run")


def test_structure_prints_what_it_stores(run: Path) -> None:
    document = json.loads(invoke("structure", run, "--json"))
    structure = read_structure(open_run(run))
    assert structure is not None
    assert document == structure.to_json()
    table = invoke("structure", run, "--name", "again")
    assert read_structure(open_run(run), name="again") is not None
    assert all(f"{row['explained']:.3f}" in table for row in document["lattice"])
    assert all(f"{row['row']:+.3f}" in table for row in document["outputs"])


def test_map_prints_what_it_stores(run: Path, umap: None) -> None:
    document = json.loads(invoke("map", run, "--experts", 40, "--json"))
    assert [row["experts"] for row in document["groups"]] == [len(read_map(open_run(run), group)) for group in (0, 1)]
    assert "Maps by residual" in invoke("map", run, "--experts", 31, "--name", "small")
    summary = read_map_summary(open_run(run), name="small")
    assert summary is not None
    assert summary.experts == {0: 31, 1: 31}


def test_coactive_lists_experts_by_group_and_id_or_keys(run: Path) -> None:
    opened = open_run(run)
    expert = int(opened.experts(1)["tokens"].idxmax())
    expected = coactive(opened, 1, expert, n=4)
    i, j = divmod(expert, opened.num_keys)
    document = json.loads(invoke("coactive", run, f"1:{i},{j}", "-n", 4, "--json"))
    assert (document["group"], document["expert"]) == (1, expert)
    assert [row["expert"] for row in document["coactive"]] == expected["expert"].tolist()
    shown = invoke("coactive", run, f"1:{expert}", "-n", 4)
    assert all(f"1:{other} " in shown for other in expected["expert"])


def test_coactive_says_which_sample_was_read_and_how_precise_it_is(run: Path) -> None:
    opened = open_run(run)
    expert = int(opened.experts(0)["tokens"].idxmax())
    expected = coactive(opened, 0, expert, n=3, sample=2)
    drawn = opened.sample(2, by_size=True).drawn
    assert drawn is not None
    document = json.loads(invoke("coactive", run, f"0:{expert}", "-n", 3, "--sample", 2, "--json"))
    assert document["sample"] == drawn.to_json()
    assert [row["jaccard_low"] for row in document["coactive"]] == pytest.approx(expected["jaccard_low"].tolist())
    shown = invoke("coactive", run, f"0:{expert}", "-n", 3, "--sample", 2)
    assert str(drawn) in " ".join(shown.split())
    assert all(f"{low:.3f} to" in shown for low in expected["jaccard_low"])  # a narrow screen wraps what follows
    assert all(f"{high:.3f}" in shown for high in expected["jaccard_high"])


def test_coactive_ends_at_ctrl_c_and_leaves_the_run_as_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> Iterator[tuple[object, ...]]:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in the background
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)
        yield from ()

    expert = int(open_run(run).experts(0)["tokens"].idxmax())
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    beside = set(run.parent.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("workbench.analysis.structure.coactivation.active_pairs", interrupted)
        done = CliRunner().invoke(app, ["coactive", str(run), f"0:{expert}"])
    assert done.exit_code == 130
    assert not done.stdout
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    assert set(run.parent.iterdir()) == beside


def test_an_interrupted_structure_says_how_to_go_on_and_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(invoke("structure", run, "--json"))
    arguments = ["structure", str(run), "--name", "again"]
    monkeypatch.setattr("sys.argv", ["monet", *arguments])
    compute, stop = DocumentSums.__call__, True
    computed: list[int] = []

    def broken(self: DocumentSums, task: KeyRange, *rest: Any) -> Any:
        if stop and task.group == 1:
            raise KeyboardInterrupt
        computed.append(task.group)
        return compute(self, task, *rest)

    monkeypatch.setattr(DocumentSums, "__call__", broken)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 130
    assert " ".join(done.stderr.split("Go on with:")[1].split()) == f"monet {' '.join(arguments)} --resume"
    assert read_structure(open_run(run), name="again") is None
    assert set(computed) == {0}
    stop = False
    computed.clear()
    assert json.loads(invoke(*arguments, "--resume", "--json")) == whole
    assert set(computed) == {1}
    assert [file.name for file in (run / "analysis" / "again").iterdir()] == ["structure.json"]
