"""Asking a run for what it has not, and reading a damaged one, gives a clear word."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from workbench.errors import WorkbenchError
from workbench.store import open_run


@pytest.mark.parametrize(
    ("said", "ask"),
    [
        ("no group 2; it has 0, 1", lambda run: run.experts(2)),
        ("no group -1", lambda run: run.routing([0], -1)),
        ("no group 5", lambda run: run.activations(5, 0)),
        ("no expert 256; ids run from 0 to 255", lambda run: run.examples(0, 256, 1)),
        ("no expert -1", lambda run: run.histogram(0, -1)),
        ("no context window 6; it has 0 to 5", lambda run: run.context(6, 0, 0)),
        ("no context window -1", lambda run: run.context(-1, 0, 0)),
        ("token rows; they run from 0 to 239", lambda run: run.routing([240])),
        ("token rows; they run from 0 to 239", lambda run: run.tokens([-1])),
        ("no document 6; it has 0 to 5", lambda run: run.input_ids(6)),
    ],
)
def test_run_names_what_it_does_not_have(sound_run, said, ask) -> None:
    with pytest.raises(WorkbenchError, match=said):
        ask(open_run(sound_run))


def test_a_run_says_what_it_is_of(sound_run) -> None:
    run = open_run(sound_run)
    assert run.path == sound_run
    assert run.model_path.endswith("tiny-hd")
    assert (run.groups, run.group_layers, run.num_keys, run.heads) == ([0, 1], [0, 2], 16, 2)
    assert (run.labels, run.tokens_total, run.label_tokens.to_dict()) == (["a", "b"], 240, {"a": 120, "b": 120})
    assert run.manifest["model"]["decompose"] == "horizontal"
    assert run.tokenizer() is None
    assert run.analysis_path("mask.json") == sound_run / "analysis" / "mask.json"


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("experts/group-0", lambda run: run.experts(0)),
        ("examples/group-0", lambda run: run.examples(0, 3, 1)),
        ("index/part-00000-group-0", lambda run: run.activations(0, 3)),
        ("routing/part-00000-group-1", lambda run: run.routing([0], 1)),
        ("tokens/part-00001", lambda run: run.tokens([200])),
        ("documents/part-00001", lambda run: run.documents),
    ],
)
def test_a_damaged_file_is_named(run_copy, name, ask) -> None:
    file = run_copy / f"{name}.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(WorkbenchError, match=f"{name}.parquet cannot be read .*monet verify"):
        ask(open_run(run_copy))
    file.unlink()
    with pytest.raises(WorkbenchError, match=f"{name}.parquet cannot be read"):
        ask(open_run(run_copy))


def test_damage_inside_a_file_is_named_when_it_is_met(run_copy) -> None:
    file = run_copy / "routing" / "part-00000-group-0.parquet"
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    content = bytearray(file.read_bytes())
    content[column.data_page_offset : column.data_page_offset + 8] = b"\xff" * 8
    file.write_bytes(content)
    with pytest.raises(WorkbenchError, match="routing/part-00000-group-0.parquet cannot be read"):
        open_run(run_copy).routing(slice(0, 5))


def test_threads_share_a_run(sound_run) -> None:
    run = open_run(sound_run)
    experts = run.experts(0).index[:24].tolist()
    expected = [run.activations(0, expert) for expert in experts]
    shared = open_run(sound_run)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda expert: shared.activations(0, expert), experts * 4))
    assert all(got.equals(want) for got, want in zip(found, expected * 4, strict=True))


def test_quantile_examples_still_works_with_a_warning(sound_run) -> None:
    run = open_run(sound_run)
    with pytest.warns(DeprecationWarning, match="examples_by_score"):
        old = run.quantile_examples(0, 3)
    pd.testing.assert_frame_equal(old, run.examples_by_score(0, 3))


def test_document_labels_are_places_in_labels(sound_run) -> None:
    run = open_run(sound_run)
    assert [run.labels[n] for n in run.document_labels] == run.documents["label"].tolist()


def test_token_column_is_the_tokens_of_all_parts(sound_run) -> None:
    run = open_run(sound_run)
    assert run.token_column.tolist() == run.tokens()["token"].tolist()
    assert run.token_column.dtype == np.int32


def test_texts_come_in_order_and_are_missing_for_token_ids(sound_run, run_path) -> None:
    run = open_run(run_path)
    texts = [(first + at, text) for first, column in run.texts() for at, text in enumerate(column.to_pylist())]
    assert texts == [(doc, run.text(doc)) for doc in range(len(run.documents))]
    assert [text for _, column in open_run(sound_run).texts() for text in column.to_pylist()] == [None] * 6
