"""A document's text cut at its tokens: exactly as it is, every character in one piece."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..store import Run

WINDOW = 2_000  # tokens of a document shown at once


class Piece(NamedTuple):
    """A stretch of text.

    Attributes:
        text: the stretch, exactly.
        row: the token row it belongs to; of a character that several tokens share, the first of them. -1 for text
            between tokens.
        score: the highest score of its tokens; 0 where there is none.
    """

    text: str
    row: int
    score: float


def window_start(tokens: int, token: int | None, start: int | None) -> int:
    """First token that is shown of a document, counted from 0: of the window of ``token``, or ``start`` if none."""
    return max(min(start or 0 if token is None else token // WINDOW * WINDOW, tokens - 1), 0)


def pieces(run: Run, doc: int, start: int, scores: pd.Series) -> list[Piece]:
    """The text of a document's tokens ``start`` to ``start + WINDOW``, in order.

    Args:
        run: the run.
        doc: number of the document.
        start: first token, counted from 0 in the document.
        scores: an expert's score by token row; rows that are missing have 0.

    Returns:
        Pieces whose texts together are the document's text from the first token's first character to the last token's
        last one; to the ends of the text where the window reaches the document's ends. Where the corpus gave token
        ids, the tokens' texts.
    """
    document = run.documents.iloc[doc]
    first, tokens = int(document["row"]), int(document["tokens"])
    end = min(start + WINDOW, tokens)
    rows = np.arange(first + start, first + end)
    score = scores.reindex(rows, fill_value=0.0).to_numpy(np.float64)
    text = run.text(doc)
    if text is None:
        shown = zip(run.row_text(rows), rows.tolist(), score.tolist(), strict=True)
        return [Piece(*one) for one in shown]
    found: list[Piece] = []
    offsets = run.tokens(rows)
    ends = offsets["end"].to_numpy(np.int64)
    at = 0 if start == 0 else int(offsets["start"].iloc[0])
    for row, begins, stops, value in zip(rows, offsets["start"].to_numpy(np.int64), ends, score, strict=True):
        if begins > at:
            found.append(Piece(text[at:begins], -1, 0.0))
        if stops > max(at, begins):
            found.append(Piece(text[max(at, begins) : stops], int(row), float(value)))
        elif found:  # the rest of a character that is shown already
            found[-1] = found[-1]._replace(score=max(found[-1].score, float(value)))
        at = max(at, int(stops))
    if end == tokens and at < len(text):
        found.append(Piece(text[at:], -1, 0.0))
    return found
