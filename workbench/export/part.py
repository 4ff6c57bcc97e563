"""One part of a run: consecutive whole documents, and the tables of their tokens and of themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..store.priority import BITS, priority
from ..store.schema import DOCUMENTS, LABEL_TYPE, PROJECT, TOKENS
from ..store.window_geometry import WindowGeometry
from .documents import Document


class Part:
    """Consecutive whole documents, and their place in the run.

    Attributes:
        number: of the part, from 0.
        documents: at least one.
        last: whether it is the last part.
        first_row, first_window: global numbers of its first token row and context window.
        rows, windows: its number of each.
        label_of_row, start_of_row: (rows,) label number of each token, and the global row its document begins at.
        copied: (rows,) whether each token is of a document that nearly repeats an earlier one.
        kept: (rows,) whether the routing of each token is written.
        size: of its documents, in the corpus's measure.
    """

    def __init__(
        self,
        number: int,
        documents: list[Document],
        first_row: int,
        first_window: int,
        labels: list[str],
        settings: dict[str, Any],
        last: bool,
    ) -> None:
        self.number, self.documents, self.label_names = number, documents, labels
        self.context, self.overlap = settings["context"], settings["overlap"]
        self.last = last
        self.first_row, self.first_window = first_row, first_window
        counts = np.array([d.rows for d in documents])
        first_rows, bos = first_row + np.cumsum(counts) - counts, np.array([int(d.bos) for d in documents])
        inner = [d.inner_control for d in documents]
        self._geometry = WindowGeometry(
            first_rows,
            counts,
            bos,
            self.context,
            first_window,
            overlap=self.overlap,
            control_doc=np.repeat(np.arange(len(documents)), [len(at) for at in inner]),
            control_position=np.concatenate(inner),
        )
        self.rows, self.windows = int(counts.sum()), int(self._geometry.window_counts.sum())
        self.size = sum(d.size for d in documents)
        code = {label: n for n, label in enumerate(labels)}
        self._codes = np.array([code[d.label] for d in documents], np.int32)
        self._counts, self._kept = counts, kept_documents(documents, settings["keep_routing"])
        self._document_of_row = np.repeat(np.arange(len(documents)), counts)
        self.label_of_row = self._codes[self._document_of_row]
        self.start_of_row = first_rows[self._document_of_row]
        self.kept = self._kept[self._document_of_row]
        self.copied = np.array([d.original != d.number for d in documents])[self._document_of_row]

    @property
    def end_row(self) -> int:
        """The global row after its last one."""
        return self.first_row + self.rows

    def describe(self) -> dict[str, Any]:
        """Its entry in the manifest, without its files."""
        return {
            "part": self.number,
            "documents": [self.documents[0].number, self.documents[-1].number + 1],
            "rows": [self.first_row, self.end_row],
            "windows": [self.first_window, self.first_window + self.windows],
            "size": self.size,
        }

    def around(self, row: int) -> str:
        """The document that holds a row of the part, for a message."""
        return f"document {self.documents[int(self._document_of_row[min(row, self.rows - 1)])].number} or one after it"

    def batches(self, size: int) -> list[list[tuple[NDArray[np.int32], NDArray[np.bool_]]]]:
        """Context windows in batches of ``size``: ids, and which of them statistics count."""
        every = [window for d in self.documents for window in d.windows(self.context, self.overlap)]
        return [every[n : n + size] for n in range(0, len(every), size)]

    def tokens_table(self) -> pa.Table:
        """Rows of the run's tokens."""
        counted = [(d, ~d.control) for d in self.documents]
        positions = [np.flatnonzero(c).astype(np.int32) for _, c in counted]
        offsets = [np.full((d.rows, 2), -1, np.int32) if d.offsets is None else d.offsets[c] for d, c in counted]
        start, end = np.concatenate(offsets).T
        unknown = start < 0
        return pa.Table.from_arrays(
            [
                pa.array(np.repeat([d.number for d in self.documents], self._counts), pa.int64()),
                pa.array(np.concatenate(positions)),
                pa.array(np.concatenate([d.ids[c] for d, c in counted])),
                self._labels(self.label_of_row),
                pa.array(start, mask=unknown),
                pa.array(end, mask=unknown),
            ],
            schema=TOKENS,
        )

    def documents_table(self) -> pa.Table:
        """Rows of the run's documents."""
        documents = self.documents
        table = pa.Table.from_arrays(
            [
                pa.array([d.number for d in documents], pa.int64()),
                self._labels(self._codes),
                pa.array([d.source for d in documents], pa.string()),
                pa.array([d.score for d in documents], pa.float64()),
                pa.array(self._geometry.row, pa.int64()),
                pa.array(self._counts, pa.int64()),
                pa.array(self._geometry.window, pa.int64()),
                pa.array([int(d.ids[0]) if d.bos else None for d in documents], pa.int32()),
                pa.array(self._kept),
                pa.array([d.original for d in documents], pa.int64()),
                pa.array([_control_tokens(d) for d in documents], DOCUMENTS.field("control").type),
                pa.array([d.text for d in documents], pa.string()),
            ],
            schema=DOCUMENTS,
        )
        if all(d.project is None for d in documents):
            return table
        return table.append_column(PROJECT, pa.array([d.project for d in documents], pa.string()))

    def _labels(self, codes: NDArray[np.int32]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(self.label_names, pa.string())).cast(LABEL_TYPE)


def _control_tokens(document: Document) -> list[dict[str, int]]:
    """Control tokens of a document at other positions than 0, as the run keeps them."""
    return [{"position": int(at), "token": int(document.ids[at])} for at in document.inner_control]


def kept_documents(documents: list[Document], fraction: float) -> NDArray[np.bool_]:
    """Whether each document's routing is written: a fraction of all numbers, in a fixed order that looks random."""
    return priority(np.array([d.number for d in documents])) < fraction * 2**BITS
