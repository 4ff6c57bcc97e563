"""Runs that keep the routing of some documents, or of none: statistics are of all, and what is not kept is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.analysis import analyze_run
from workbench.errors import WorkbenchError
from workbench.export import export_run
from workbench.store import Run, open_run, verify_run

MODEL = Path(__file__).parents[2] / "golden" / "tiny-vd"


@pytest.fixture(scope="module")
def corpus(id_documents, id_corpus, tmp_path_factory) -> Path:
    return id_corpus(tmp_path_factory.mktemp("kept") / "corpus.parquet", id_documents(5, 40))


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory) -> dict[float, Run]:
    folder = tmp_path_factory.mktemp("runs")
    for share in (1.0, 0.4, 0.0):
        export_run(MODEL, corpus, folder / str(share), context=48, part_tokens=900, keep_routing=share)
    return {share: open_run(folder / str(share)) for share in (1.0, 0.4, 0.0)}


def test_what_is_kept_is_a_sample_of_documents(runs) -> None:
    kept = runs[0.4].documents["kept"]
    assert 8 < kept.sum() < 24
    assert runs[1.0].documents["kept"].all()
    assert not runs[0.0].documents["kept"].any()


def test_which_documents_does_not_rest_on_the_parts(runs, id_documents, id_corpus, tmp_path) -> None:
    corpus = id_corpus(tmp_path / "corpus.parquet", id_documents(5, 40)[:25])
    export_run(MODEL, corpus, tmp_path / "run", context=48, part_tokens=100, keep_routing=0.4)
    kept = open_run(tmp_path / "run").documents["kept"]
    assert kept.tolist() == runs[0.4].documents["kept"][:24].tolist()  # one is empty


@pytest.mark.parametrize("share", [0.4, 0.0])
def test_all_else_is_that_of_the_whole_run(runs, share) -> None:
    assert verify_run(runs[share].path) == []
    for folder in ("experts", "examples", "intervals", "tokens"):
        for file in sorted((runs[1.0].path / folder).iterdir()):
            assert file.read_bytes() == (runs[share].path / folder / file.name).read_bytes()


def test_routing_of_kept_documents_is_exact_and_of_others_refused(runs) -> None:
    whole, part = runs[1.0], runs[0.4]
    documents = part.documents[part.documents["tokens"] > 0]
    for _, document in documents.iterrows():
        rows = slice(document["row"], document["row"] + document["tokens"])
        if document["kept"]:
            for got, want in zip(part.routing(rows, 1).dense(), whole.routing(rows, 1).dense(), strict=True):
                assert got.equal(want)
        else:
            with pytest.raises(WorkbenchError, match=rf"routing of document {document['doc']}: .*--keep-routing 0.4"):
                part.routing(rows, 1)
            assert not part.kept_routing(rows, 1).counts1.any()
    assert len(part.routing([], 0)) == 0


def test_activations_are_those_of_kept_documents(runs) -> None:
    expert = int(runs[1.0].experts(0)["mass"].idxmax())
    found, every = runs[0.4].activations(0, expert), runs[1.0].activations(0, expert)
    kept = runs[0.4].documents["kept"].to_numpy()
    pd.testing.assert_frame_equal(found, every[kept[every["doc"]]].reset_index(drop=True))
    assert runs[0.0].activations(0, expert).empty


def test_a_context_that_is_not_kept_has_its_tokens_and_no_scores(runs) -> None:
    expert = int(runs[1.0].experts(0)["mass"].idxmax())
    for share in (0.4, 0.0):
        for _, document in runs[share].documents.query("tokens > 0").iterrows():
            table, whole = (runs[s].context(document["window"], 0, expert) for s in (share, 1.0))
            assert table["token"].equals(whole["token"])
            if document["kept"]:
                assert table["score"].equals(whole["score"])
            else:
                assert table["score"].isna().all()


@pytest.mark.parametrize("share", [0.4, 0.0])
def test_analysis_and_its_verdicts_work(runs, share) -> None:
    summary = analyze_run(runs[share], permutations=20)
    whole = analyze_run(runs[1.0], permutations=20)
    assert summary.specialised.equals(whole.specialised)


def test_going_on_with_another_share_is_refused(runs, corpus) -> None:
    with pytest.raises(WorkbenchError, match="begun with keep_routing 0.4, not 1.0"):
        export_run(MODEL, corpus, runs[0.4].path, context=48, part_tokens=900, resume=True)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_beyond_all(corpus, tmp_path, share) -> None:
    with pytest.raises(WorkbenchError, match="keep_routing must lie in 0"):
        export_run(MODEL, corpus, tmp_path / "run", keep_routing=share)
    assert not (tmp_path / "run").exists()


def test_disk_falls_with_what_is_kept(runs) -> None:
    def routing(share: float) -> int:
        return sum(file.stat().st_size for file in (runs[share].path / "routing").iterdir())

    assert routing(0.0) < routing(0.4) < routing(1.0)
    assert np.isclose(runs[0.4].manifest["settings"]["keep_routing"], 0.4)
