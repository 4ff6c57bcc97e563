"""Rows, positions and windows of documents are those that reading each document token by token gives."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.store import open_run
from workbench.store.window_geometry import WindowGeometry

# Of each document: which ids are control tokens, and whether the first is a start-of-text token.
DOCUMENTS = st.lists(st.tuples(st.lists(st.booleans(), max_size=9), st.booleans()), min_size=1, max_size=7)


def geometry_of(documents, width: int, first_window: int, bos_in_windows: bool, overlap: int) -> WindowGeometry:
    control = [[False] * bos + list(inner) for inner, bos in documents]
    bos = np.array([int(opens) for _, opens in documents])
    tokens = np.array([len(ids) - sum(ids) for ids in control]) - bos
    places = [(doc, at) for doc, ids in enumerate(control) for at, is_control in enumerate(ids) if is_control]
    doc, position = np.array(places, np.int64).reshape(-1, 2).T
    rows = np.cumsum(tokens) - tokens
    return WindowGeometry(rows, tokens, bos, width, first_window, bos_in_windows, overlap, doc, position)


@given(DOCUMENTS, st.integers(4, 6), st.integers(0, 3), st.booleans(), st.integers(0, 2))
def test_geometry_counts_as_reading_token_by_token_does(
    documents, width, first_window, bos_in_windows, overlap
) -> None:
    geometry = geometry_of(documents, width, first_window, bos_in_windows, overlap)
    row, window = 0, first_window
    windows: dict[int, list[tuple[int, int]]] = {}
    for doc, (inner, bos) in enumerate(documents):
        control = [True] * bos + list(inner)
        assert geometry.ids[doc] == len(control)
        assert geometry.window[doc] == window
        opening = int(bos and bos_in_windows)
        stride = width - opening - overlap
        starts = [0] * bool(control) + list(range(width, len(control), stride))
        assert geometry.window_counts[doc] == len(starts)
        for at, begin in enumerate(starts, window):
            windows[at] = []
            end = min(begin + stride if begin else width, len(control))
            for position in range(begin, end):
                if control[position]:  # it has no row
                    assert geometry.rows(np.array([doc]), np.array([position]))[0] == row
                    continue
                windows[at].append((row, position))
                docs, positions = geometry.places(np.array([row]))
                assert (docs[0], positions[0]) == (doc, position)
                assert geometry.rows(docs, positions)[0] == row
                again = opening + overlap if begin else 0  # ids that the window repeats
                assert [int(v[0]) for v in geometry.windows(docs, positions)] == [at, position - begin + again]
                first = max(begin - overlap * bool(begin), int(bos))
                assert [int(v[0]) for v in geometry.bounds(docs, positions)] == [first, end]
                row += 1
        window += len(starts)
    for at, expected in windows.items():
        rows, positions = geometry.window_rows(at)
        assert list(zip(rows.tolist(), positions.tolist(), strict=True)) == expected


def test_a_runs_geometry_gives_the_windows_it_was_written_with(windowed_run) -> None:
    run = open_run(windowed_run)
    assert run.geometry.window.tolist() == run.documents["window"].tolist()
    tokens = run.tokens()
    doc, position = run.geometry.places(tokens["row"].to_numpy())
    assert doc.tolist() == tokens["doc"].tolist()
    assert position.tolist() == tokens["position"].tolist()


def test_the_windows_of_a_document_hold_its_ids_and_rows(windowed_run) -> None:
    run = open_run(windowed_run)
    for doc in run.documents["doc"]:
        ids, bos = run.input_ids(doc).tolist(), int(run.geometry.bos[doc])
        read = run.windows_of(doc)
        assert len(read) == run.geometry.window_counts[doc]
        assert all(len(window) <= run.geometry.width for window, _ in read)
        assert [window[:bos].tolist() for window, _ in read] == [ids[:bos]] * len(read)
        again = bos + run.geometry.overlap
        new = [window if not n else window[again:] for n, (window, _) in enumerate(read)]
        assert [i for window in new for i in window.tolist()] == ids
        for (before, _), (after, rows) in pairwise(read):
            assert after[bos:again].tolist() == before[len(before) - again + bos :].tolist()
            assert (rows[:again] == -1).all()
        held = np.concatenate([rows for _, rows in read]) if read else np.zeros(0, int)
        first = run.geometry.row[doc]
        assert held[held >= 0].tolist() == list(range(first, first + run.geometry.tokens[doc]))
