"""What a run says equals a dense recount of every expert, for every group of both golden models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from workbench.export import export_run
from workbench.store import expert_files, verify_run
from workbench.store.priority import priority

CLOSE = {"rtol": 2e-4, "atol": 1e-9}  # float32 scores, batched here and one window at a time there
HALF = 2**-10  # two half-precision factors


def test_run_is_sound_and_has_several_parts(exported) -> None:
    assert verify_run(exported.run.path) == []
    assert len(exported.run.manifest["parts"]) > 3


def test_exported_statistics_are_those_of_every_expert(exported, counted) -> None:
    group, dense = counted
    table = exported.run.experts(group)
    active = dense.scores > 0
    assert table.index.name == "expert"
    assert table.index.tolist() == np.flatnonzero(active.any(0)).tolist()
    seen = table.index.to_numpy()
    assert table["tokens"].tolist() == active.sum(0)[seen].tolist()
    np.testing.assert_allclose(table["mass"], dense.scores.sum(0)[seen], **CLOSE)
    np.testing.assert_allclose(table["mean"], table["mass"] / table["tokens"], rtol=1e-12)
    np.testing.assert_allclose(table["max"], dense.scores.max(0)[seen], **CLOSE)
    assert exported.run.labels == sorted({d["label"] for d in exported.documents})
    for label in exported.run.labels:
        of_label = dense.label == label
        assert table[f"tokens:{label}"].tolist() == active[of_label].sum(0)[seen].tolist()
        np.testing.assert_allclose(table[f"mass:{label}"], dense.scores[of_label].sum(0)[seen], **CLOSE)


def test_exported_histograms_count_every_active_token(exported, counted) -> None:
    group, dense = counted
    for expert in exported.run.experts(group).index[::5]:
        table = exported.run.histogram(group, expert)
        scores = dense.scores[dense.scores[:, expert] > 0, expert]
        assert table["low"][1:].tolist() == table["high"][:-1].tolist()
        below = table["count"].cumsum().to_numpy()[:-1]
        edges = table["high"].to_numpy()[:-1, None]
        assert (below >= (scores < edges * (1 - 1e-4)).sum(1)).all()  # a score within rounding of an edge may fall
        assert (below <= (scores < edges * (1 + 1e-4)).sum(1)).all()  # on either side
        assert table["count"].sum() == len(scores)


def _best(scores: np.ndarray, docs: np.ndarray, limit: int, per_document: int) -> list[float]:
    """Scores of a greedy choice, best first, with at most ``per_document`` of one document."""
    given: dict[int, int] = {}
    chosen: list[float] = []
    for row in np.argsort(-scores, kind="stable"):
        if scores[row] > 0 and given.get(docs[row], 0) < per_document and len(chosen) < limit:
            given[docs[row]] = given.get(docs[row], 0) + 1
            chosen.append(scores[row])
    return chosen


def test_examples_of_every_expert(exported, counted) -> None:
    group, dense = counted
    table = pd.read_parquet(exported.run.path / "examples" / f"group-{group}.parquet")
    assert table["expert"].unique().tolist() == exported.run.experts(group).index.tolist()
    assert not table[["expert", "row"]].duplicated().any()
    np.testing.assert_allclose(table["score"], dense.scores[table["row"], table["expert"]], **CLOSE)
    assert table["token"].tolist() == dense.token[table["row"]].tolist()
    for expert, scores in table.groupby("expert")["score"]:
        expected = _best(dense.scores[:, expert], dense.doc, exported.examples, exported.examples_per_document)
        np.testing.assert_allclose(scores, expected, **CLOSE)


def test_examples_by_score_are_a_seeded_choice_from_every_octave(exported, counted) -> None:
    group, dense = counted
    run = exported.run
    for expert in run.experts(group).index[::5]:
        table, histogram = run.examples_by_score(group, expert), run.histogram(group, expert)
        scores, rows = dense.scores[:, expert], table["row"].to_numpy()
        np.testing.assert_allclose(table["score"], scores[rows], **CLOSE)
        assert (table["low"].diff()[1:] <= 0).all()
        assert ((table["score"] >= table["low"]) & (table["score"] < table["high"])).all()
        assert table["token"].tolist() == dense.token[rows].tolist()
        assert table["label"].tolist() == dense.label[rows].tolist()
        sampled = table.groupby("low")["row"].agg(list)
        for low, high, count in histogram[histogram["count"] > 0].itertuples(index=False):
            assert len(sampled[low]) == min(count, 3)
            sure = np.flatnonzero((scores >= low * (1 + 1e-4)) & (scores < high * (1 - 1e-4)))
            if len(sure) == count:  # no score is within rounding of an edge
                assert sampled[low] == sure[np.argsort(priority(sure))][:3].tolist()


def test_examples_say_where_they_are(exported, counted) -> None:
    group, dense = counted
    for expert in exported.run.experts(group).index[::9]:
        table = exported.run.examples(group, expert, 100)
        assert table["score"].is_monotonic_decreasing
        assert table["doc"].value_counts().max() <= exported.examples_per_document
        rows = table["row"].to_numpy()
        for name in ("doc", "position", "token", "label", "window"):
            assert table[name].tolist() == getattr(dense, name)[rows].tolist(), name
        assert table["source"].tolist() == [exported.documents[d]["source"] for d in table["doc"]]
        assert table["token_text"].tolist() == [f"#{token}" for token in table["token"]]
        assert exported.run.examples(group, expert, 2).equals(table[:2])


def test_an_expert_never_active_has_no_examples(exported) -> None:
    run = exported.run
    unseen = set(range(run.num_keys**2)) - set(run.experts(0).index)
    for expert in list(unseen)[:3]:
        assert run.examples(0, expert, 5).empty
        assert run.activations(0, expert).empty
        assert run.histogram(0, expert)["count"].sum() == 0


def test_routing_keeps_every_active_entry(exported, counted) -> None:
    group, dense = counted
    routing = exported.run.routing(slice(None), group)
    for stored, g in zip(routing.dense(), (dense.g1, dense.g2), strict=True):
        assert ((stored.numpy() > 0) == (g > 0)).all()
        np.testing.assert_allclose(stored.numpy(), g, rtol=HALF, atol=1e-6)


def test_routing_of_chosen_rows_is_theirs_in_order(exported) -> None:
    run = exported.run
    every = run.routing(slice(None), 1)
    rows = np.random.default_rng(0).permutation(run.tokens_total)[:50]
    for chosen in (rows, rows.tolist(), slice(5, 5), slice(140, 410), slice(-3, None)):
        expected = every[chosen if isinstance(chosen, slice) else rows].dense()
        for got, want in zip(run.routing(chosen, 1).dense(), expected, strict=True):
            assert got.equal(want)


def test_activations_are_every_active_token(exported, counted) -> None:
    group, dense = counted
    for expert in exported.run.experts(group).index[::7]:
        table = exported.run.activations(group, expert)
        rows = np.flatnonzero(dense.scores[:, expert])
        assert table["row"].tolist() == rows.tolist()
        np.testing.assert_allclose(table["score"], dense.scores[rows, expert], rtol=2 * HALF, atol=1e-6)
        for name in ("doc", "position", "token", "label"):
            assert table[name].tolist() == getattr(dense, name)[rows].tolist(), name


def test_context_is_the_window_of_an_example(exported, counted) -> None:
    group, dense = counted
    expert = int(exported.run.experts(group)["mass"].idxmax())
    for window in range(0, int(dense.window.max()) + 1, 3):
        table = exported.run.context(window, group, expert)
        rows = np.flatnonzero(dense.window == window)
        assert table["position"].tolist() == dense.position[rows].tolist()
        assert table["token"].tolist() == dense.token[rows].tolist()
        np.testing.assert_allclose(table["score"], dense.scores[rows, expert], rtol=2 * HALF, atol=1e-6)


def test_exported_tokens_and_documents_are_the_corpus(exported, counted) -> None:
    run, (_, dense) = exported.run, counted
    tokens, documents = run.tokens(), run.documents
    assert run.tokens_total == len(dense.doc) == len(tokens)
    for name in ("doc", "position", "token", "label"):
        assert tokens[name].tolist() == getattr(dense, name).tolist(), name
    assert tokens[["start", "end"]].isna().all(axis=None)
    assert documents["label"].tolist() == [d["label"] for d in exported.documents]
    assert documents["source"].tolist() == [d["source"] for d in exported.documents]
    assert documents["score"].tolist() == [d["score"] for d in exported.documents]
    assert documents["tokens"].tolist() == [(dense.doc == d).sum() for d in range(len(documents))]
    pd.testing.assert_series_equal(run.label_tokens, tokens["label"].value_counts()[run.labels], check_names=False)
    for doc, document in enumerate(exported.documents):
        assert run.input_ids(doc).tolist() == document["input_ids"]
        assert run.text(doc) is None


@pytest.mark.parametrize("rows", [[3, 1, 400, 2], slice(10, 13), []])
def test_tokens_of_chosen_rows(exported, rows) -> None:
    wanted = np.arange(exported.run.tokens_total)[rows]
    table = exported.run.tokens(rows)
    assert table["row"].tolist() == wanted.tolist()
    assert table.equals(exported.run.tokens().iloc[wanted].reset_index(drop=True).astype(table.dtypes))


@pytest.mark.parametrize("at_once", [1, 300])
def test_closing_files_hold_the_same_however_they_are_cut(exported, tmp_path, monkeypatch, id_corpus, at_once) -> None:
    monkeypatch.setattr(expert_files, "PIECE_NUMBERS", at_once)
    monkeypatch.setattr(expert_files, "EXPERTS_ROW_GROUP", 7)
    again, settings = tmp_path / "run", exported.run.manifest["settings"]
    fixed = ("bos_in_windows", "overlap", "control_in_text")
    numbers = {name: value for name, value in settings.items() if name not in fixed}
    export_run(exported.model, id_corpus(tmp_path / "corpus.parquet", exported.documents), again, **numbers)
    for folder in ("experts", "examples", "intervals"):
        for group in (0, 1):
            name = f"{folder}/group-{group}.parquet"
            whole = pq.read_table(exported.run.path / name)
            assert pq.read_table(again / name).equals(whole), name
            assert pq.ParquetFile(again / name).num_row_groups > len(whole) // 7
