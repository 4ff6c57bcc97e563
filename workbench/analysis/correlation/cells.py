"""Values of every expert per document or per token, over a choice of documents, read in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...errors import BadInputError
from ...progress import Progress, silent
from ..activations import ROUTING_ROWS, active_pairs, routing_within
from ..specialisation.shares import Floats
from .coefficients import Cells, Ints

if TYPE_CHECKING:
    from ...store import Run

UNITS = ("mean", "max", "token")


def check_unit(unit: str) -> None:
    """Check that ``unit`` is one of ``UNITS``.

    Raises:
        BadInputError: it is not.
    """
    if unit not in UNITS:
        raise BadInputError(f"the unit must be one of {', '.join(UNITS)}, got {unit!r}.")


def read_cells(
    run: Run,
    group: int,
    documents: pd.DataFrame,
    unit: str,
    keys: tuple[int, int],
    advance: Progress = silent,
) -> Iterator[Cells]:
    """Yield the cells of the experts of a range of first keys, in order, in blocks of whole documents.

    Args:
        run: an opened run.
        group: of the experts.
        documents: columns row and tokens; none may be empty.
        unit: what one unit is: ``mean``: a document, in which an expert's value is its mean score over all tokens;
            ``max``: a document, and the largest score; ``token``: a token, and its score.
        keys: first key of set 1, and the one after the last.
        advance: called with the tokens read since its last call.
    """
    low, high = keys
    tokens = documents["tokens"].to_numpy()
    ends = np.cumsum(tokens)
    first = 0
    while first < len(documents):
        done = ends[first] - tokens[first]
        last = max(first + 1, int(np.searchsorted(ends, done + ROUTING_ROWS, side="right")))
        block = documents[first:last]
        rows = np.concatenate(
            [np.arange(row, row + size) for row, size in zip(block["row"], block["tokens"], strict=True)]
        )
        document = np.repeat(np.arange(first, last), tokens[first:last])
        pieces: list[tuple[Ints, Ints, Floats]] = []
        for start in range(0, len(rows), ROUTING_ROWS):
            part = slice(start, start + ROUTING_ROWS)
            for expert, token, score in active_pairs(routing_within(run, rows[part], group, (low, high))):
                pieces.append((expert - low * run.num_keys, start + token, score.astype(np.float64)))
        expert, token, score = (np.concatenate(column) for column in zip(*pieces, strict=True))
        if unit == "token":
            yield Cells(range(done, done + len(rows)), expert, done + token, score)
        else:
            yield _by_document(expert, document[token], score, range(first, last), unit, tokens)
        advance(len(rows))
        first = last


def _by_document(
    expert: Ints,
    document: Ints,
    score: Floats,
    covered: range,
    unit: str,
    tokens: Ints,
) -> Cells:
    """Cells of documents from activations at their tokens."""
    cell = expert * len(covered) + document - covered.start
    order = np.argsort(cell, kind="stable")
    cell, score = cell[order], score[order]
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    expert, document = np.divmod(cell[starts], len(covered))
    document += covered.start
    value = np.maximum.reduceat(score, starts) if unit == "max" else np.add.reduceat(score, starts) / tokens[document]
    return Cells(covered, expert, document, value)
