"""Near copies of a document count in statistics, are shown once, and are said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from workbench.export import export_run
from workbench.export.copies import NearCopies
from workbench.export.scan import CorpusSummary
from workbench.store import Run, open_run, verify_run

MODEL = Path(__file__).parents[2] / "golden" / "tiny-vd"


def originals(documents: list[np.ndarray]) -> list[int]:
    copies = NearCopies()
    return [copies.original(ids) for ids in documents]


def test_a_document_copies_the_first_one_that_it_repeats() -> None:
    rng = np.random.default_rng(0)
    text, other = rng.integers(0, 4096, (2, 300))
    changed = text.copy()
    changed[[50, 200]] = 5
    longer = np.concatenate([text, other[:30]])
    assert originals([text, other, text, changed, longer, other]) == [0, 1, 0, 0, 0, 1]


def test_documents_that_share_little_are_no_copies() -> None:
    rng = np.random.default_rng(1)
    text, other = rng.integers(0, 4096, (2, 300))
    half = np.concatenate([text[:150], other[:150]])
    assert originals([text, half, rng.permutation(text), text[:100]]) == [0, 1, 2, 3]


def test_short_and_empty_documents_are_copies_only_of_themselves() -> None:
    documents = [np.array(ids, np.int64) for ids in ([], [7], [8], [7], [], [7, 8], [8, 7], [7, 8])]
    assert originals(documents) == [0, 1, 2, 1, 4, 5, 6, 5]


def test_a_corpus_of_many_copies_remembers_only_originals() -> None:
    copies = NearCopies()
    for _ in range(50):
        copies.original(np.arange(40))
    assert len(copies._minima) == 1


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    """Six documents of two labels; the second of them five times more, once with one id changed."""
    rng = np.random.default_rng(3)
    rows = [{"input_ids": rng.integers(3, 128, 60).tolist(), "label": "ab"[n % 2]} for n in range(6)]
    again = {"input_ids": [*rows[1]["input_ids"][:-1], 5], "label": "a"}
    return [*rows, *(dict(rows[1]) for _ in range(4)), again]


@pytest.fixture(scope="module")
def runs(rows, tmp_path_factory) -> tuple[Run, Run, CorpusSummary]:
    """A run of the corpus with copies, one of the corpus without, and the summary of the former."""
    folder = tmp_path_factory.mktemp("copies")
    told: list[CorpusSummary] = []
    for name, chosen, report in (("with", rows, told.append), ("without", rows[:6], None)):
        Dataset.from_list(chosen).to_parquet(folder / f"{name}.parquet")
        export_run(MODEL, folder / f"{name}.parquet", folder / name, context=32, part_tokens=200, report=report)
    return open_run(folder / "with"), open_run(folder / "without"), told[0]


def test_the_summary_and_the_run_name_the_copies(runs) -> None:
    run, without, summary = runs
    assert run.documents["original"].tolist() == [0, 1, 2, 3, 4, 5, 1, 1, 1, 1, 1]
    assert (summary.copies, summary.relabelled) == ({"a": 1, "b": 4}, 1)
    assert run.manifest["corpus"]["copies"] == 5
    assert any("Near copies of earlier documents: 5." in note for note in run.manifest["corpus"]["notes"])
    assert without.manifest["corpus"]["notes"] == []
    assert verify_run(run.path) == verify_run(without.path) == []


def test_copies_count_and_are_shown_once(runs) -> None:
    run, without, _ = runs
    for group in run.groups:
        ours, theirs = run.experts(group), without.experts(group)
        assert (ours["tokens"].reindex(theirs.index) >= theirs["tokens"]).all()
        assert ours["tokens"].sum() > 1.5 * theirs["tokens"].sum()
        for expert in theirs.index[::7]:
            one, other = (r.examples(group, expert, 32)[["row", "token"]] for r in (run, without))
            assert one.equals(other)
            sampled = [r.examples_by_score(group, expert)["row"].tolist() for r in (run, without)]
            assert sampled[0] == sampled[1]


def test_the_highest_score_is_that_of_all_tokens(runs) -> None:
    run, _, _ = runs
    for expert in run.experts(0).index[::5]:
        score = run.activations(0, expert)["score"].max()
        assert run.expert(0, expert)["max"] == pytest.approx(score, rel=1e-3)


def test_documents_keep_their_project(tmp_path: Path) -> None:
    """Only where the corpus tells it: other runs have no such column, and Run.documents gives an empty string."""
    rows = [{"input_ids": [3, n, 5, 7], "label": "ab"[n % 2]} for n in range(6)]
    export_run(MODEL, Dataset.from_list(rows), tmp_path / "plain")
    plain = open_run(tmp_path / "plain")
    assert plain.documents["project"].eq("").all()
    told = [row | {"project": None if n == 4 else f"p{n % 3}"} for n, row in enumerate(rows)]
    export_run(MODEL, Dataset.from_list(told), tmp_path / "told", part_tokens=8)
    verify_run(tmp_path / "told")
    assert open_run(tmp_path / "told").documents["project"].tolist() == ["p0", "p1", "p2", "p0", "", "p2"]
    assert open_run(tmp_path / "told").manifest["corpus"]["hash"] != plain.manifest["corpus"]["hash"]
