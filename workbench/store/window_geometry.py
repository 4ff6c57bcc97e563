"""Where token rows, positions in documents, context windows and start-of-text tokens meet.

The model reads a document as its start-of-text token, if it has one, then its tokens, cut into windows of equal width,
the last one shorter. A position counts from 0 in that sequence. Token rows count all tokens of the run but the
start-of-text tokens, which nothing else counts either; docs/run-format.md defines these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class WindowGeometry:
    """The geometry of consecutive documents, numbered from 0 here.

    Attributes:
        row: (documents,) first token row of each, ascending; empty documents share theirs with the next one.
        tokens: (documents,) number of token rows.
        bos: (documents,) 1 where a start-of-text token opens the document, else 0.
        width: tokens per context window.
        first_window: number of the first window.
    """

    row: Integers
    tokens: Integers
    bos: Integers
    width: int
    first_window: int = 0

    @cached_property
    def window_counts(self) -> Integers:
        """(documents,) number of context windows."""
        return -(-(self.tokens + self.bos) // self.width)

    @cached_property
    def window(self) -> Integers:
        """(documents,) first context window."""
        return self.first_window + np.cumsum(self.window_counts) - self.window_counts

    def places(self, rows: Integers) -> tuple[Integers, Integers]:
        """Document of each token row, and position in it."""
        doc = np.searchsorted(self.row, rows, side="right") - 1  # the last of those that share a row: not empty
        return doc, rows - self.row[doc] + self.bos[doc]

    def windows(self, doc: Integers, position: Integers) -> tuple[Integers, Integers]:
        """Context window of each position of a document, and place in that window."""
        window, place = np.divmod(position, self.width)
        return self.window[doc] + window, place

    def bounds(self, doc: Integers, position: Integers) -> tuple[Integers, Integers]:
        """First position with a token row in the same window, and the position after the last one."""
        start = position // self.width * self.width
        end = np.minimum(start + self.width, self.tokens[doc] + self.bos[doc])
        return np.maximum(start, self.bos[doc]), end

    def window_rows(self, window: int) -> tuple[Integers, Integers]:
        """Token rows of a context window, and their positions in its document."""
        doc = int(np.searchsorted(self.window, window, side="right")) - 1
        start = (window - self.window[doc]) * self.width
        first, end = self.bounds(np.array(doc), np.array(start))
        position = np.arange(int(first), int(end))
        return position - self.bos[doc] + self.row[doc], position
