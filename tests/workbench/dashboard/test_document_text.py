"""A document cut at its tokens is the document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import Run, open_run
from workbench.dashboard import document_text
from workbench.dashboard.document_text import pieces, window_start


@pytest.fixture(scope="module")
def run(run_path: Path) -> Run:
    return open_run(run_path)


def test_pieces_are_the_text_and_carry_the_scores(run: Run) -> None:
    expert = int(run.experts(0)["mass"].idxmax())
    active = run.activations(0, expert)
    for doc in range(4):
        here = active[active["doc"] == doc]
        found = pieces(run, doc, 0, pd.Series(here["score"].to_numpy(), here["row"].to_numpy()))
        assert "".join(piece.text for piece in found) == run.text(doc)
        scored = {piece.row: piece.score for piece in found if piece.score}
        assert scored == pytest.approx(dict(zip(here["row"], here["score"], strict=True)))


def test_windows_of_a_long_document_follow_each_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_text, "WINDOW", 30)
    tokens, none = int(run.documents["tokens"].iloc[0]), pd.Series(dtype=np.float64)
    starts = range(0, tokens, 30)
    assert len(starts) > 2
    assert "".join(piece.text for start in starts for piece in pieces(run, 0, start, none)) == run.text(0)
    assert window_start(tokens, 31, None) == 30
    assert window_start(tokens, None, 10**9) == tokens - 1
    assert window_start(0, None, None) == 0


class Split:
    """A document whose first character is shared by two tokens, and whose tokens leave a gap and an end uncovered."""

    documents = pd.DataFrame({"row": [5], "tokens": [3]})

    def text(self, doc: int) -> str:
        return "€ b!"

    def tokens(self, rows: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame({"start": [0, 0, 2], "end": [1, 1, 3]})


def test_shared_characters_and_gaps_are_shown_once() -> None:
    found = pieces(Split(), 0, 0, pd.Series([0.1, 0.4], [5, 6]))  # type: ignore[arg-type]
    assert [tuple(piece) for piece in found] == [("€", 5, 0.4), (" ", -1, 0.0), ("b", 7, 0.0), ("!", -1, 0.0)]
