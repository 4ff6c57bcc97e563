"""Where token rows, positions in documents, context windows and control tokens meet.

A document is a sequence of token ids; a position counts from 0 in it. Token rows count all tokens of the run but the
control tokens (start-of-text, end-of-text, padding), which nothing else counts either. The model reads a document in
windows of equal width, the last one shorter. Later windows repeat the document's start-of-text token, if it has one,
and the end of the window before, so that no token is read without text in front of it; what a window repeats belongs
to the window before. docs/run-format.md defines these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class WindowGeometry:
    """The geometry of consecutive documents, numbered from 0 here.

    Attributes:
        row: (documents,) first token row of each, ascending; empty documents share theirs with the next one.
        tokens: (documents,) number of token rows.
        bos: (documents,) 1 where a start-of-text token opens the document, else 0.
        width: ids that the model reads per context window, repeated ones included.
        first_window: number of the first window.
        bos_in_windows: whether the start-of-text token opens every window of its document, or the first one only.
        overlap: ids of the window before that a later window repeats.
        control_doc, control_position: (control tokens,) document and position of each control token at another
            position than 0, ascending.
    """

    row: Integers
    tokens: Integers
    bos: Integers
    width: int
    first_window: int = 0
    bos_in_windows: bool = True
    overlap: int = 0
    control_doc: Integers = field(default_factory=lambda: _NONE)
    control_position: Integers = field(default_factory=lambda: _NONE)

    @cached_property
    def ids(self) -> Integers:
        """(documents,) number of token ids: token rows and control tokens."""
        return self.tokens + self.bos + np.bincount(self.control_doc, minlength=len(self.row))

    @cached_property
    def _opening(self) -> Integers:
        """(documents,) start-of-text tokens that every window repeats."""
        return self.bos * int(self.bos_in_windows)

    @cached_property
    def _stride(self) -> Integers:
        """(documents,) ids that belong to each window after the first."""
        return self.width - self._opening - self.overlap

    @cached_property
    def window_counts(self) -> Integers:
        """(documents,) number of context windows."""
        later = np.maximum(self.ids - self.width, 0)
        return (self.ids > 0) + -(-later // self._stride)

    @cached_property
    def window(self) -> Integers:
        """(documents,) first context window."""
        return self.first_window + np.cumsum(self.window_counts) - self.window_counts

    @cached_property
    def _control_start(self) -> Integers:
        """(documents,) control tokens, other than at position 0, of the documents before."""
        counts = np.bincount(self.control_doc, minlength=len(self.row))
        return np.cumsum(counts) - counts

    @cached_property
    def _tokens_before(self) -> Integers:
        """(documents,) token rows of the documents before."""
        return np.cumsum(self.tokens) - self.tokens

    @cached_property
    def _rows_before_control(self) -> Integers:
        """(control tokens,) token rows before each, ascending."""
        rank = np.arange(len(self.control_doc)) - self._control_start[self.control_doc]
        within = self.control_position - self.bos[self.control_doc] - rank
        return self._tokens_before[self.control_doc] + within

    @cached_property
    def _control_keys(self) -> Integers:
        """(control tokens,) document and position in one number, ascending."""
        return self.control_doc * (int(self.ids.max()) + 1) + self.control_position

    def places(self, rows: Integers) -> tuple[Integers, Integers]:
        """Document of each token row, and position in it."""
        doc = np.searchsorted(self.row, rows, side="right") - 1  # the last of those that share a row: not empty
        within = rows - self.row[doc]
        position = within + self.bos[doc]
        if len(self.control_doc):
            before = np.searchsorted(self._rows_before_control, self._tokens_before[doc] + within, side="right")
            position = position + before - self._control_start[doc]
        return doc, position

    def rows(self, doc: Integers, position: Integers) -> Integers:
        """Token row of each position of a document; of a control token, the row that comes next."""
        row: Integers = self.row[doc] + position - self.bos[doc]
        if len(self.control_doc):
            span = int(self.ids.max()) + 1
            before = np.searchsorted(self._control_keys, doc * span + position)
            row = row - (before - self._control_start[doc])
        return np.maximum(row, self.row[doc])

    def windows(self, doc: Integers, position: Integers) -> tuple[Integers, Integers]:
        """Context window of each position of a document, and place in that window."""
        later, place = np.divmod(position - self.width, self._stride[doc])
        first = position < self.width
        window = np.where(first, 0, later + 1)
        return self.window[doc] + window, np.where(first, position, self._opening[doc] + self.overlap + place)

    def bounds(self, doc: Integers, position: Integers) -> tuple[Integers, Integers]:
        """First position of the document that the model read in the same window, its start-of-text token left out, and
        the position after the last one."""
        start, end = self._span(doc, self.windows(doc, position)[0] - self.window[doc])
        return np.maximum(start - self.overlap * (start > 0), self.bos[doc]), end

    def _span(self, doc: Integers, number: Integers) -> tuple[Integers, Integers]:
        """First position that belongs to a document's window of this number, and the position after the last one."""
        end = self.width + number * self._stride[doc]
        return np.where(number > 0, end - self._stride[doc], 0), np.minimum(end, self.ids[doc])

    def window_rows(self, window: int) -> tuple[Integers, Integers]:
        """Token rows that belong to a context window, and their positions in its document."""
        doc = np.array(int(np.searchsorted(self.window, window, side="right")) - 1)
        row = np.arange(*(int(self.rows(doc, at)) for at in self._span(doc, window - self.window[doc])))
        return row, self.places(row)[1]
