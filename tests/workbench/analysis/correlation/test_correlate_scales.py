"""Correlations in ranges, threads and on a sample: the same bytes, and intervals that hold the whole run's values."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from workbench.analysis import activations, correlate_scores, purge_scores, read_scores
from workbench.analysis.correlation import correlate
from workbench.analysis.correlation.correlate_result import read_score_summary
from workbench.checkpoint import load_model
from workbench.errors import WorkbenchError
from workbench.export import export_run
from workbench.store import Run, open_run

GOLDEN = Path(__file__).parents[3] / "golden" / "tiny-vd"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over 300 documents of one label and 100 of another one, whose scores are higher; a score is the share of
    tokens of id 100 or more."""
    folder = tmp_path_factory.mktemp("scales")
    rng = np.random.default_rng(5)
    rows = []
    for number in range(400):
        rare, size = number % 4 == 0, rng.integers(8, 30)
        share = rng.random() * 0.5 + 0.4 * rare
        ids = np.where(rng.random(size) < share, rng.integers(100, 120, size), rng.integers(10, 90, size))
        rows.append({"input_ids": ids.tolist(), "label": "ab"[rare], "score": float((ids >= 100).mean())})
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    export_run(GOLDEN, folder / "corpus.parquet", folder / "run", context=32)
    return folder / "run"


@pytest.fixture
def run(path: Path, tmp_path: Path) -> Iterator[Run]:
    """The run in a copy that a test may add to; torch's number of threads is restored."""
    before = torch.get_num_threads()
    yield open_run(shutil.copytree(path, tmp_path / "run"))
    torch.set_num_threads(before)


def files(run: Run, name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.path / "analysis" / name).iterdir() if path.is_file()}


def test_ranges_and_threads_give_the_same_bytes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    correlate_scores(run, name="whole")
    monkeypatch.setattr(activations, "MAX_PAIRS", 20_000)
    for threads in (1, 3):
        torch.set_num_threads(threads)
        correlate_scores(run, name=f"threads-{threads}")
        assert files(run, f"threads-{threads}") == files(run, "whole")


def test_a_broken_correlation_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "MAX_PAIRS", 20_000)
    correlate_scores(run, name="whole")
    compute, computed = correlate.Correlating.__call__, []

    def broken(self: Any, task: Any, *rest: Any) -> Any:
        computed.append(task)
        if len(computed) == 4:
            raise KeyboardInterrupt
        return compute(self, task, *rest)

    monkeypatch.setattr(correlate.Correlating, "__call__", broken)
    with pytest.raises(KeyboardInterrupt):
        correlate_scores(run, name="broken")
    assert not (run.path / "analysis/broken/scores.json").exists()
    with pytest.raises(WorkbenchError, match="differs in unit"):
        correlate_scores(run, name="broken", unit="max", resume=True)
    first = set(computed[:3])
    computed[:] = [None] * 4
    correlate_scores(run, name="broken", resume=True)
    assert first
    assert not first & set(computed)
    assert files(run, "broken") == files(run, "whole")
    assert not (run.path / "analysis/broken/scores.state").exists()


def test_intervals_of_a_sample_hold_the_whole_run_s_correlations(run: Run) -> None:
    """At their rate or more often, as a sample without replacement is the closer the larger a part it is."""
    correlate_scores(run, name="whole")
    held: dict[str, list[np.ndarray]] = {"pearson": [], "spearman": []}
    for seed in range(8):
        summary = correlate_scores(run, sample=30, seed=seed, name="few")
        assert summary.drawn is not None
        assert summary.drawn.by_size
        assert summary.documents == summary.drawn.documents == 60
        for group in run.groups:
            few, whole = read_scores(run, group, name="few"), read_scores(run, group, name="whole")
            few = few[few["documents"] >= 15]
            for kind, of_kind in held.items():
                true = whole.loc[few.index, kind]
                of_kind.append(((few[f"{kind}:low"] <= true) & (true <= few[f"{kind}:high"])).to_numpy())
    for of_kind in held.values():
        assert len(np.concatenate(of_kind)) > 1000
        assert 0.93 < np.concatenate(of_kind).mean() < 0.995


def test_the_stored_summary_states_the_sample(run: Run) -> None:
    written = correlate_scores(run, sample=20)
    stored = read_score_summary(run)
    assert stored is not None
    assert stored.drawn == written.drawn
    assert "drawn" not in stored.to_json()


def test_a_purge_of_a_sample_measures_on_few_documents(run: Run) -> None:
    purge = purge_scores(run, load_model(GOLDEN), thresholds=[0.1], sample=20)
    assert purge.drawn is not None
    assert purge.chosen + purge.measured == purge.drawn.documents == 40
