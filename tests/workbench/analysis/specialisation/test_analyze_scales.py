"""`analyze_run` in blocks, threads and workers, broken off and resumed: the same bytes; and on a sample."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workbench.analysis import (
    activations,
    analyze_run,
    read_analysis,
    read_analysis_summary,
    replication,
    sorted_routing,
)
from workbench.analysis.specialisation import evidence
from workbench.errors import WorkbenchError
from workbench.store import Run, open_run

SETTINGS: dict[str, Any] = {"permutations": 30, "min_tokens": 5, "fdr": 0.4, "ratio": 1.5}


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Torch's number of threads, afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def files(run: Run, name: str = "") -> dict[str, bytes]:
    """The results, without searches' counts."""
    found = (run.path / "analysis" / name).glob("experts*")
    return {path.name: path.read_bytes() for path in found if path.is_file()}


@pytest.fixture
def text_run(text_run_path: Path, tmp_path: Path) -> Run:
    """A run of many short texts, in a copy that a test may add to."""
    return open_run(shutil.copytree(text_run_path, tmp_path / "run"))


@pytest.fixture(params=["few", "many"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Blocks so small that there are several: ranges of first keys, or of both keys of a sorted copy in pieces."""
    monkeypatch.setattr(activations, "MAX_PAIRS", 4000)
    monkeypatch.setattr(activations, "FEW_BLOCKS", 10**6 if request.param == "few" else 0)
    monkeypatch.setattr(sorted_routing, "ROWS", 500)
    return str(request.param)


def test_results_are_the_same_in_blocks_and_threads(run: Run, blocks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for threads in (1, 3):
        torch.set_num_threads(threads)
        analyze_run(run, **SETTINGS, name=f"threads-{threads}")
    assert files(run, "threads-1") == files(run, "threads-3")
    assert len(evidence.Evidence(run, read_analysis_summary(run, "threads-1").settings).blocks()) > 7  # type: ignore[union-attr]
    monkeypatch.undo()
    analyze_run(run, **SETTINGS, name="whole")
    assert files(run, "whole") == files(run, "threads-1")
    assert {path.name for path in (run.path / "analysis" / "whole").iterdir()} == set(files(run, "whole"))


def test_a_broken_analysis_leaves_the_earlier_one_and_goes_on(run: Run, blocks: str) -> None:
    analyze_run(run, **SETTINGS)
    before = files(run)
    compute, computed = evidence.Evidence.__call__, []

    def broken(self: Any, block: Any, *rest: Any) -> Any:
        computed.append(block)
        if len(computed) == 6:
            raise KeyboardInterrupt
        return compute(self, block, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence.Evidence, "__call__", broken)
        with pytest.raises(KeyboardInterrupt):
            analyze_run(run, **SETTINGS | {"seed": 3})
        assert files(run) == before
        assert (run.path / "analysis" / "experts.state").is_dir()
        with pytest.raises(WorkbenchError, match="differs in seed"):
            analyze_run(run, **SETTINGS, resume=True)
        first = set(computed[:5])
        computed[:] = [None] * 6
        analyze_run(run, **SETTINGS | {"seed": 3}, resume=True)
    assert first
    assert not first & set(computed)
    assert not (run.path / "analysis" / "experts.state").exists()
    resumed = files(run)
    assert resumed != before
    analyze_run(run, **SETTINGS | {"seed": 3})
    assert files(run) == resumed


def test_a_sample_is_read_alone_and_stated(run: Run, blocks: str) -> None:
    """Tests of labels and text scores are those of the sample's documents; the rest is of all documents."""
    analyze_run(run, **SETTINGS, name="all")
    summary = analyze_run(run, **SETTINGS, sample=3, seed=2, name="few")
    drawn = run.sample(3, seed=2)
    assert summary.drawn == drawn.drawn
    assert summary.drawn is not None
    assert summary.drawn.documents == 9
    stored = read_analysis_summary(run, "few")
    assert stored is not None
    assert stored.drawn == summary.drawn
    assert stored.precision == summary.precision
    assert json.loads((run.path / "analysis/few/experts.json").read_text())["result"]["sample"]["per_label"] == 3
    kept, sides = np.repeat(drawn.documents["kept"], run.documents["tokens"]).to_numpy(), run.sides
    run.__dict__["documents"] = drawn.documents  # as a run that holds no other routing
    run.sides = lambda rows, group: tuple(side.only(kept[rows]) for side in sides(rows, group))  # type: ignore[method-assign, assignment]
    analyze_run(run, **SETTINGS, seed=2, name="exported")
    for group in run.groups:
        few, exported, whole = (read_analysis(run, group, name) for name in ("few", "exported", "all"))
        for column in ("p:ratio", "p:selectivity", "vocabulary_entropy"):
            assert few[column].equals(exported[column])
        assert few["specialised"].equals(whole["specialised"])
        assert (few["p:ratio"] != whole["p:ratio"]).any()


def test_results_of_all_documents_speak_of_no_sample(run: Run) -> None:
    summary = analyze_run(run, **SETTINGS)
    assert summary.drawn is None
    assert summary.precision is None
    stored = json.loads((run.path / "analysis/experts.json").read_text())
    assert "sample" not in stored["result"]
    assert "precision" not in stored


def test_a_sample_of_everything_is_exact(run: Run) -> None:
    summary = analyze_run(run, **SETTINGS, sample=10**6, name="few")
    assert summary.precision is not None
    assert summary.precision.bound == pytest.approx(0, abs=2e-3)  # masses of stored routing are in half precision
    analyze_run(run, **SETTINGS, name="all")
    for group in run.groups:
        few, whole = (read_analysis(run, group, name) for name in ("few", "all"))
        assert few["vocabulary_entropy"].equals(whole["vocabulary_entropy"])  # permutations are of the empty ones too


def test_the_bound_of_one_sample_holds_for_others(text_run: Run) -> None:
    """What a sample states of its precision is what other samples of the size have: 95 % are within its bound."""
    stated = analyze_run(text_run, permutations=0, sample=12, name="few").precision
    assert stated is not None
    inside, shares = [], {group: read_analysis(text_run, group, "few") for group in text_run.groups}
    for seed in range(1, 7):
        few = text_run.sample(12, seed=seed)
        reader, kept = activations.Reader(few), few.documents.query("kept")
        label = kept["label"].map(few.check_label).to_numpy()
        size = np.bincount(label, kept["tokens"])
        for group in few.groups:
            whole = shares[group][[f"share:{name}" for name in few.labels]].to_numpy()
            (block,) = reader.blocks(group)
            table = reader.read(block).by(reader.document())
            mass, tokens = np.zeros((3, few.num_keys**2)), np.bincount(table.expert, table.tokens, few.num_keys**2)
            np.add.at(mass, (label[table.number], table.expert), table.mass)
            of_group = shares[group].index.to_numpy()
            rates = (mass / size[:, None])[:, of_group]
            tested = tokens[of_group] >= 10
            first = whole.argmax(1)[tested], np.flatnonzero(tested)
            off = np.abs(rates[first] / rates.sum(0)[tested] - whole.max(1)[tested])
            inside.append(off <= stated.bound)
    assert len(np.concatenate(inside)) > 1000
    assert np.concatenate(inside).mean() == pytest.approx(0.95, abs=0.02)


def test_replication_of_a_sample_is_of_fewer_documents(run: Run) -> None:
    whole, few = replication(run, permutations=0), replication(run, permutations=0, sample=4)
    assert whole is not None
    assert few is not None
    assert few.halves["documents"].sum() == 12 < whole.halves["documents"].sum()


def test_ray_gives_the_same_bytes(run: Run) -> None:
    ray = pytest.importorskip("ray")
    analyze_run(run, **SETTINGS, sample=4)
    alone = files(run)
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(num_cpus=2, object_store_memory=100 * 2**20, **quiet)
    try:
        analyze_run(run, **SETTINGS, sample=4, ray="local", workers=2)
    finally:
        ray.shutdown()
    assert files(run) == alone


def test_a_sample_below_one_is_refused(run: Run) -> None:
    with pytest.raises(WorkbenchError, match="a sample needs at least one document"):
        analyze_run(run, sample=0)
    assert not Path(run.path / "analysis").exists()
