"""One part of a run: some whole documents read by the model, their routing written, their statistics gathered."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from cuda_ext import accumulate
from monet_model import Routing

from ..errors import WorkbenchError
from ..store.files import replacing, write_parquet
from ..store.index import write_index
from ..store.remote import Place
from ..store.routing import PARQUET, ROUTING, ROW_GROUP, Side, to_arrow
from ..store.schema import DOCUMENTS, LABEL_TYPE, TOKENS, index_name, part_name, routing_name
from .documents import Document, windows
from .reader import read_routing
from .sample import BITS, priority
from .state import Totals

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

TOKENS_ROW_GROUP = 4096
GATHER = 16_384  # tokens whose routing is gathered at once: an expert's statistics then stay in the cache for longer
Report = Callable[[int, int], None]  # takes the tokens and the size just done


class Part:
    """Some consecutive whole documents, and where they stand in the run.

    Attributes:
        number: of the part, from 0.
        documents: at least one.
        last: whether none comes after it.
        first_row, first_window: global numbers of its first token row and context window.
        rows, windows: how many of each it has.
        label_of_row, start_of_row: (rows,) label number of each token, and the global row its document begins at.
        kept: (rows,) whether the routing of each token is written.
        ids, size: token ids and, in the corpus's measure, size of its documents.
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
        context = settings["context"]
        self.number, self.documents, self.context, self.label_names = number, documents, context, labels
        self.last = last
        self.first_row, self.first_window = first_row, first_window
        counts = np.array([d.rows for d in documents])
        spans = np.array([-(-len(d.ids) // context) for d in documents])
        self.rows, self.windows = int(counts.sum()), int(spans.sum())
        self.ids, self.size = sum(len(d.ids) for d in documents), sum(d.size for d in documents)
        code = {label: n for n, label in enumerate(labels)}
        self._codes = np.array([code[d.label] for d in documents], np.int32)
        self._first_rows, self._first_windows = np.cumsum(counts) - counts, np.cumsum(spans) - spans
        self._counts, self._kept = counts, kept_documents(documents, settings["keep_routing"])
        self._document_of_row = np.repeat(np.arange(len(documents)), counts)
        self.label_of_row = self._codes[self._document_of_row]
        self.start_of_row = first_row + self._first_rows[self._document_of_row]
        self.kept = self._kept[self._document_of_row]

    @property
    def end_row(self) -> int:
        """The global row after its last one."""
        return self.first_row + self.rows

    def describe(self) -> dict[str, Any]:
        """What the manifest says of it, but for its files."""
        return {
            "part": self.number,
            "documents": [self.documents[0].number, self.documents[-1].number + 1],
            "rows": [self.first_row, self.end_row],
            "windows": [self.first_window, self.first_window + self.windows],
            "size": self.size,
        }

    def around(self, row: int) -> str:
        """Names the document that holds a row of the part, for a message."""
        return f"document {self.documents[int(self._document_of_row[min(row, self.rows - 1)])].number} or one after it"

    def batches(self, size: int) -> list[list[tuple[NDArray[np.int32], bool]]]:
        """Context windows in order, ``size`` at a time: (ids, whether the first is the start-of-text token)."""
        every = [(ids, d.bos and not n) for d in self.documents for n, ids in enumerate(windows(d, self.context))]
        return [every[n : n + size] for n in range(0, len(every), size)]

    def tokens_table(self) -> pa.Table:
        """Rows of the run's tokens."""
        first = [int(d.bos) for d in self.documents]
        many = list(zip(self.documents, first, strict=True))
        positions = [np.arange(f, len(d.ids), dtype=np.int32) for d, f in many]
        offsets = [np.full((d.rows, 2), -1, np.int32) if d.offsets is None else d.offsets[f:] for d, f in many]
        start, end = np.concatenate(offsets).T
        unknown = start < 0
        return pa.Table.from_arrays(
            [
                pa.array(np.repeat([d.number for d in self.documents], self._counts), pa.int64()),
                pa.array(np.concatenate(positions)),
                pa.array(np.concatenate([d.ids[f:] for d, f in many])),
                self._labels(self.label_of_row),
                pa.array(start, mask=unknown),
                pa.array(end, mask=unknown),
            ],
            schema=TOKENS,
        )

    def documents_table(self) -> pa.Table:
        """Rows of the run's documents."""
        documents = self.documents
        return pa.Table.from_arrays(
            [
                pa.array([d.number for d in documents], pa.int64()),
                self._labels(self._codes),
                pa.array([d.source for d in documents], pa.string()),
                pa.array([d.score for d in documents], pa.float64()),
                pa.array(self._first_rows + self.first_row, pa.int64()),
                pa.array(self._counts, pa.int64()),
                pa.array(self._first_windows + self.first_window, pa.int64()),
                pa.array([int(d.ids[0]) if d.bos else None for d in documents], pa.int32()),
                pa.array(self._kept),
                pa.array([d.text for d in documents], pa.string()),
            ],
            schema=DOCUMENTS,
        )

    def _labels(self, codes: NDArray[np.int32]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(self.label_names, pa.string())).cast(LABEL_TYPE)


def pad(batch: list[tuple[NDArray[np.int32], bool]]) -> tuple[Tensor, Tensor, Tensor]:
    """Windows padded on the right: ids, attention mask and which tokens statistics count, each (batch, tokens)."""
    width = max(len(ids) for ids, _ in batch)
    padded = np.zeros((len(batch), width), np.int64)
    mask = np.zeros((len(batch), width), np.int64)
    counted = np.zeros((len(batch), width), bool)
    for row, (ids, bos) in enumerate(batch):
        padded[row, : len(ids)], mask[row, : len(ids)], counted[row, int(bos) : len(ids)] = ids, 1, True
    return torch.from_numpy(padded), torch.from_numpy(mask), torch.from_numpy(counted)


def kept_documents(documents: list[Document], fraction: float) -> NDArray[np.bool_]:
    """Which documents' routing is written: those whose number comes first in a fixed order that looks random."""
    return priority(np.array([d.number for d in documents])) < fraction * 2**BITS


def export_part(
    part: Part, model: MonetForCausalLM, path: Place, batch_size: int, totals: list[Totals], report: Report
) -> list[str]:
    """Run the model over a part, write its files, and add it to the totals of each group.

    The totals may be those of the parts before, or empty ones to merge into these later: the outcome is the same.

    Returns:
        Paths of the written files inside the run.

    Raises:
        WorkbenchError: the model gives NaN or infinity on one of its documents.
    """
    names = [routing_name(part.number, group) for group in range(len(totals))]
    keys, heads = model.config.moe_experts, model.config.moe_heads
    with ExitStack() as files:
        temporary = [files.enter_context(replacing(path / name)) for name in names]
        writers = [files.enter_context(pq.ParquetWriter(file, ROUTING, **PARQUET)) for file in temporary]
        with Gatherer(part, totals, writers) as gatherer:
            row = ids_done = size_done = 0
            for batch in part.batches(batch_size):
                ids, mask, counted = pad(batch)
                try:
                    routings = read_routing(model, ids, mask)
                except ValueError as error:
                    raise WorkbenchError(
                        f"the model cannot route a context window of {part.around(row)}: {error}"
                    ) from error
                chosen = counted.flatten().nonzero().squeeze(1)
                gatherer.take([routing[chosen] for routing in routings])
                row, ids_done = row + len(chosen), ids_done + int(mask.sum())
                size = part.size * ids_done // part.ids
                report(len(chosen), size - size_done)
                size_done = size
    for group in range(len(totals)):
        names.append(index_name(part.number, group))
        with replacing(path / names[-1]) as index:
            write_index(path / names[group], index, heads, keys)
    for folder, table in (("tokens", part.tokens_table()), ("documents", part.documents_table())):
        names.append(part_name(folder, part.number))
        write_parquet(path / names[-1], table, row_group_size=TOKENS_ROW_GROUP)
    return names


class Gatherer:
    """Adds the routing of a part's rows to totals and writes it, in order, on a thread beside the model's.

    At most ``GATHER`` tokens are in its work, and as many wait. Left without an error, all are done.
    """

    def __init__(self, part: Part, totals: list[Totals], writers: list[pq.ParquetWriter]) -> None:
        self.part, self.totals, self.writers = part, totals, writers
        self._waiting: list[list[Routing]] = []
        self._row = self._size = 0
        self._pool = ThreadPoolExecutor(1)
        self._working: Future[None] | None = None

    def take(self, routings: list[Routing]) -> None:
        """The routing of the next rows, by group."""
        self._waiting.append(routings)
        self._size += len(routings[0])
        if self._size >= GATHER:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._working is not None:
            self._working.result()
        if self._size:
            held = [Routing.cat(pieces) for pieces in zip(*self._waiting, strict=True)]
            self._working = self._pool.submit(self._gather, self._row, held)
        self._waiting, self._row, self._size = [], self._row + self._size, 0

    def _gather(self, row: int, routings: list[Routing]) -> None:
        part, rows = self.part, slice(row, row + len(routings[0]))
        global_rows = np.arange(part.first_row, part.end_row)[rows]
        labels, starts = part.label_of_row[rows].astype(np.int64), part.start_of_row[rows]
        for routing, writer, total in zip(routings, self.writers, self.totals, strict=True):
            accumulate(total.statistics, routing, *map(torch.from_numpy, (labels, global_rows, starts)))
            side1 = Side.from_padded(routing.indices1.numpy(), routing.probs1.numpy(), routing.num_keys)
            side2 = Side.from_padded(routing.indices2.numpy(), routing.probs2.numpy(), routing.num_keys)
            total.sample.add(side1, side2, routing.num_keys, global_rows)
            kept = part.kept[rows]
            writer.write_table(to_arrow(side1.only(kept), side2.only(kept)), row_group_size=ROW_GROUP)

    def __enter__(self) -> Gatherer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._hand_over()
                self._hand_over()
        finally:
            self._pool.shutdown()
