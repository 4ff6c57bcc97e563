"""What a run answers about its experts, against plain definitions over all its tokens; and how it answers nonsense."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import WorkbenchError
from workbench.store import Run, open_run


@pytest.fixture(scope="module")
def run(sound_run) -> Run:
    return open_run(sound_run)


@pytest.fixture(scope="module")
def scores(run) -> np.ndarray:
    """Scores of every expert at every token of group 1, (tokens, experts), from the padded routing."""
    routing = run.routing(slice(None), 1)
    dense = []
    for indices, probs in ((routing.indices1, routing.probs1), (routing.indices2, routing.probs2)):
        side = np.zeros((*indices.shape[:2], run.num_keys), np.float32)
        np.maximum.at(side, (*np.indices(indices.shape)[:2], indices.numpy().astype(np.int64)), probs.numpy())
        dense.append(side)
    return np.einsum("thi,thj->tij", *dense).reshape(len(dense[0]), -1)


def test_activations_are_every_token_where_the_expert_scores(run, scores) -> None:
    documents = run.documents
    for expert in (0, 17, 255, int(scores.sum(0).argmax())):
        found = run.activations(1, expert)
        rows = np.flatnonzero(scores[:, expert])
        assert found["row"].tolist() == rows.tolist()
        np.testing.assert_allclose(found["score"], scores[rows, expert], rtol=1e-6)
        expected = run.tokens(rows)
        for column in ("doc", "position", "token", "label"):
            assert found[column].tolist() == expected[column].tolist()
        assert found["label"].tolist() == documents["label"].iloc[found["doc"]].tolist()


def test_an_expert_is_its_row_of_the_table(run) -> None:
    table = run.experts(0)
    for expert in table.index[:20]:
        row = run.expert(0, expert)
        assert row.name == expert
        assert row.to_dict() == table.loc[expert].to_dict()


def test_an_expert_never_active_has_no_more_than_zeros(short_run) -> None:
    run = open_run(short_run)
    unseen = next(iter(set(range(run.num_keys**2)) - set(run.experts(0).index)))
    row = run.expert(0, unseen)
    assert np.isnan(row.pop("mean"))
    assert not row.any()
    assert run.activations(0, unseen).empty
    assert run.examples(0, unseen, 3).empty
    assert run.neighbours(0, unseen).empty
    assert run.contexts(0, unseen, []).empty
    assert run.histogram(0, unseen)["count"].sum() == 0
    for frame in (run.activations, run.neighbours):
        seen = frame(0, run.experts(0).index[0])
        assert frame(0, unseen).dtypes.to_dict() == seen.dtypes.to_dict()


@pytest.mark.parametrize(("before", "after"), [(3, 2), (0, 0), (100, 100)])
def test_contexts_are_the_windows_around_the_tokens(run, before, after) -> None:
    expert = int(run.top_experts(1, limit=1).index[0])
    examples = run.examples(1, expert, 32)
    found = run.contexts(1, expert, examples["row"], before, after)
    assert found["example"].unique().tolist() == list(range(len(examples)))
    for number, example in enumerate(examples.itertuples(index=False)):
        window = run.context(example.window, 1, expert)
        near = window["position"].between(example.position - before, example.position + after)
        got = found[found["example"] == number]
        for column in ("position", "token", "text", "score"):
            assert got[column].tolist() == window.loc[near, column].tolist()
        assert got["left"].tolist() == np.flatnonzero(near).tolist()
        assert (got["left"] + got["right"]).unique().tolist() == [len(window) - 1]
        (itself,) = got[got["row"] == example.row].itertuples()
        assert itself.score == pytest.approx(example.score, rel=2e-3)


def test_neighbours_are_alike_over_the_examples(run, scores) -> None:
    expert = int(run.top_experts(1, limit=1).index[0])
    rows = run.examples(1, expert, 32)["row"]
    own, others = scores[rows, expert], scores[rows]
    with np.errstate(invalid="ignore"):
        cosine = own @ others / (np.linalg.norm(own) * np.linalg.norm(others, axis=0))
    cosine = np.nan_to_num(cosine)
    cosine[expert] = 0
    found = run.neighbours(1, expert, 1000)
    assert set(found["expert"]) == set(np.flatnonzero(cosine))
    np.testing.assert_allclose(found["similarity"], cosine[found["expert"]], rtol=1e-5)
    assert found["similarity"].is_monotonic_decreasing
    assert found["shared"].tolist() == ((others > 0) & (own > 0)[:, None]).sum(0)[found["expert"]].tolist()
    i, j = divmod(expert, run.num_keys)
    for other, key in zip(found["expert"], found["key"], strict=True):
        assert (key == 1, key == 2) == (other // run.num_keys == i, other % run.num_keys == j)
    pd.testing.assert_frame_equal(run.neighbours(1, expert, 5), found[:5])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_page_of_experts_is_a_page_of_the_sorted_table(sound_run, data) -> None:
    run = open_run(sound_run)
    table = run.experts(0)
    by = data.draw(st.sampled_from(["expert", *table.columns]))
    ascending = data.draw(st.booleans())
    least = data.draw(st.none() | st.integers(0, 60))
    greatest = data.draw(st.none() | st.integers(0, 60))
    offset, limit = data.draw(st.integers(0, 300)), data.draw(st.integers(0, 300))
    expected = table
    if least is not None:
        expected = expected[expected["tokens"] >= least]
    if greatest is not None:
        expected = expected[expected["tokens"] <= greatest]
    expected = expected.reset_index().sort_values(by, ascending=ascending, kind="stable").set_index("expert")
    where = {"tokens": (least, greatest)}
    found = run.top_experts(0, by, where=where, ascending=ascending, offset=offset, limit=limit)
    pd.testing.assert_frame_equal(found, expected[offset : offset + limit], check_index_type=False)  # may be a range


def test_a_column_that_is_not_there_is_refused_by_name(run) -> None:
    for ask in ({"by": "masses"}, {"where": {"histogram": (0, None)}}):
        with pytest.raises(WorkbenchError, match="no column '(masses|histogram)'; they have expert, tokens, mass"):
            run.top_experts(0, **ask)


@pytest.mark.parametrize(
    ("said", "ask"),
    [
        ("n must be a whole number from 0, got -1", lambda run: run.examples(0, 3, -1)),
        ("n must be a whole number from 0, got 2.0", lambda run: run.neighbours(0, 3, 2.0)),
        ("limit must be a whole number from 0, got -5", lambda run: run.top_experts(0, limit=-5)),
        ("offset must be a whole number from 0, got None", lambda run: run.top_experts(0, offset=None)),
        ("before must be a whole number from 0, got -2", lambda run: run.contexts(0, 3, [1], -2)),
        ("there is no expert 3.5; ids run from 0 to 255", lambda run: run.activations(0, 3.5)),
        ("there is no expert nan", lambda run: run.expert(0, float("nan"))),
        ("there is no expert None", lambda run: run.histogram(0, None)),
        ("there is no expert 256", lambda run: run.neighbours(0, 256)),
        ("there is no expert -1", lambda run: run.contexts(0, -1, [1])),
        ("no group 0.5", lambda run: run.expert(0.5, 3)),
        ("a slice or a list of whole numbers; got 5", lambda run: run.tokens(5)),
        ("a slice or a list of whole numbers; got .0.5", lambda run: run.routing([0.5])),
        ("a slice or a list of whole numbers; got .True", lambda run: run.tokens([True, False])),
        ("they run from 0 to 239", lambda run: run.contexts(0, 3, [240])),
    ],
)
def test_nonsense_is_refused(run, said, ask) -> None:
    with pytest.raises(WorkbenchError, match=said):
        ask(run)


def test_numbers_of_numpy_and_pandas_are_numbers(run) -> None:
    expert = np.int32(200)
    for ask in (
        lambda group, expert: run.activations(group, expert),
        lambda group, expert: run.examples(group, expert, np.int8(3)),
        lambda group, expert: run.neighbours(group, expert, np.uint16(3)),
        lambda group, expert: run.contexts(group, expert, pd.Series([4, 9])),
        lambda group, expert: run.histogram(group, expert),
    ):
        pd.testing.assert_frame_equal(ask(np.int64(1), expert), ask(1, int(expert)))


def test_columns_keep_their_types(run) -> None:
    expert = int(run.experts(0).index[0])
    whole, text = {"int32", "int64"}, {"str"}
    types = {
        "row": whole, "doc": whole, "position": whole, "token": whole, "window": whole, "example": whole,
        "left": whole, "right": whole, "expert": whole, "shared": whole, "key": whole, "count": whole,
        "label": text, "text": text, "token_text": text, "source": text,
        "score": {"float32"}, "similarity": {"float64"}, "low": {"float64"}, "high": {"float64"},
    }  # fmt: skip
    for frame in (
        run.activations(0, expert),
        run.examples(0, expert, 4),
        run.contexts(0, expert, [0, 7]),
        run.neighbours(0, expert),
        run.histogram(0, expert),
    ):
        for column, kind in frame.dtypes.items():
            assert str(kind) in types[column], column
        assert frame.index.tolist() == list(range(len(frame)))


def test_labels_are_what_the_corpus_says_to_the_letter(short_run) -> None:
    run = open_run(short_run)
    hostile = ['<script>alert("x")</script>', "mass:a\nb 'c' \"d\" \u202e%"]
    assert run.labels == hostile
    assert run.label_tokens.to_dict() == dict(zip(hostile, (2, 1), strict=True))
    table = run.experts(0)
    for kind in ("tokens", "mass"):
        assert (table[[f"{kind}:{label}" for label in hostile]].sum(axis=1) == table[kind]).all()
    best = run.top_experts(0, f"mass:{hostile[1]}", where={f"tokens:{hostile[1]}": (1, None)}, limit=5)
    assert best[f"mass:{hostile[1]}"].is_monotonic_decreasing
    found = run.examples(0, int(best.index[0]), 3)
    assert set(found["label"]) <= set(hostile)
    assert set(found["source"]) <= {"=1+1,\u202e\n\x00'; DROP TABLE", ""}
    assert run.tokens()["label"].tolist() == [hostile[0]] * 2 + [hostile[1]]


def test_scores_are_missing_where_the_routing_is(sampled_run) -> None:
    run = open_run(sampled_run)
    kept = run.documents["kept"].to_numpy()
    assert 0 < kept.sum() < len(kept)
    expert = int(run.top_experts(0, limit=1).index[0])
    examples = run.examples(0, expert, 32)
    found = run.contexts(0, expert, examples["row"])
    of = kept[examples["doc"]][found["example"]]
    assert found["score"].isna().tolist() == (~of).tolist()
    assert not kept[examples["doc"]].all()
    for window in examples["window"]:
        scores = run.context(window, 0, expert)["score"]
        assert scores.isna().all() != scores.notna().all()
    assert set(run.activations(0, expert)["doc"]) <= set(np.flatnonzero(kept))
    assert run.neighbours(0, expert)["shared"].max() <= kept[examples["doc"]].sum()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.lists(st.integers(0, 11), max_size=8)), max_size=6))
def test_routing_is_the_same_whatever_was_read_before(sound_run, asked) -> None:
    run = open_run(sound_run)
    for group, rows in [(0, list(range(8))), *asked]:
        whole = open_run(sound_run).sides(slice(0, 12), group)
        for side, of in zip(run.sides(rows, group), whole, strict=True):
            expected = of.take(np.array(rows, np.int64))
            assert side.keys.tolist() == expected.keys.tolist()
            assert side.probs.tolist() == expected.probs.tolist()
            assert side.starts.tolist() == expected.starts.tolist()


def test_top_tokens_of_many_are_the_examples_of_each(run) -> None:
    experts = [255, 0, 17, 18]
    found = run.top_tokens(1, experts, 3)
    assert found["expert"].is_monotonic_increasing
    for expert in experts:
        own, examples = found[found["expert"] == expert], run.examples(1, expert, 3)
        assert own["token_text"].tolist() == examples["token_text"].tolist()
        assert own["score"].tolist() == examples["score"].tolist()
    assert run.top_tokens(1, [], 3).empty
    with pytest.raises(WorkbenchError, match="ids run from 0"):
        run.top_tokens(1, [256 * 256], 3)


def test_rows_among_values_are_those_of_each_value(run) -> None:
    file = run._file("examples/group-1.parquet")
    values = np.array([3, 200, 7])
    each = [file.equal("expert", int(value), ["expert", "score"]) for value in np.sort(values)]
    assert file.among("expert", values, ["score"]).to_pylist() == pa.concat_tables(each).to_pylist()
