"""Rows, positions and windows of documents are those that reading each document token by token gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.store import open_run
from workbench.store.window_geometry import WindowGeometry

DOCUMENTS = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=7)


def geometry_of(documents: list[tuple[int, bool]], width: int, first_window: int) -> WindowGeometry:
    tokens, bos = (np.array(values, np.int64) for values in zip(*documents, strict=True))
    return WindowGeometry(np.cumsum(tokens) - tokens, tokens, bos, width, first_window)


@given(DOCUMENTS, st.integers(1, 5), st.integers(0, 3))
def test_geometry_counts_as_reading_token_by_token_does(documents, width, first_window) -> None:
    geometry = geometry_of(documents, width, first_window)
    row, window = 0, first_window
    windows: dict[int, list[tuple[int, int]]] = {}
    for doc, (tokens, bos) in enumerate(documents):
        assert geometry.window[doc] == window
        length = tokens + bos
        for position in range(length):
            at = window + position // width
            windows.setdefault(at, [])
            if bos and position == 0:  # the start-of-text token has no row
                continue
            windows[at].append((row, position))
            docs, positions = geometry.places(np.array([row]))
            assert (docs[0], positions[0]) == (doc, position)
            assert [int(v[0]) for v in geometry.windows(docs, positions)] == [at, position % width]
            start, end = geometry.bounds(docs, positions)
            assert start[0] == max(position // width * width, int(bos))
            assert end[0] == min((position // width + 1) * width, length)
            row += 1
        window += -(-length // width)
        assert geometry.window_counts[doc] == -(-length // width)
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
