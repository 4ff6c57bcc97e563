"""Adding the routing of a part's tokens to a group's totals and writing it, in a thread beside the model's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from cuda_ext import accumulate
from cuda_ext.routing import Routing

from ..store.index import IndexWriter
from ..store.priority import priority
from ..store.routing import ROW_GROUP, Side, to_arrow
from .state import Totals

if TYPE_CHECKING:
    from .part import Part

# Pieces are gathered when they have at least so much: an expert's statistics then stay in the cache for several tokens.
MIN_PAIRS = 8  # active tokens per expert, on average
MIN_TOKENS = 2048
GPU_TOKENS = 16_384  # of a piece on a GPU, which keeps no statistics in a cache


def fetch(routing: Routing) -> Callable[[], Routing]:
    """Begin to copy a routing to the processor's memory; the function returned waits for it and gives the copy.

    From a GPU it goes into pinned memory on a stream of its own: the copy waits for what the GPU was given before, and
    nothing that the GPU is given afterwards waits for the copy. On a processor it is the routing itself.
    """
    device = routing.probs1.device
    if device.type != "cuda":
        return lambda: routing.to("cpu")
    copies, copied = torch.cuda.Stream(device), torch.cuda.Event()
    copies.wait_stream(torch.cuda.current_stream(device))

    def pinned(tensor: Tensor) -> Tensor:
        tensor.record_stream(copies)  # its memory is not used again before it is copied, whoever lets go of it
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)

    with torch.cuda.stream(copies):
        there = routing.map(pinned)
    copied.record(copies)

    def wait() -> Routing:
        copied.synchronize()
        return there

    return wait


class Gatherer:
    """Takes the routing of a part's rows in order, for one group, and gathers it in larger pieces.

    While one piece is being gathered the next is collected; ``take`` waits if gathering falls behind.
    """

    def __init__(
        self, part: Part, total: Totals, routing: pq.ParquetWriter, index: IndexWriter, pool: Executor
    ) -> None:
        self.part, self.total, self.routing, self.index = part, total, routing, index
        self._device = total.statistics.tokens.device
        self._enough = MIN_PAIRS * total.statistics.keys**2
        self._collected: list[Routing] = []
        self._row = self._size = self._pairs = 0
        self._pool = pool
        self._working: Future[None] | None = None

    def take(self, routing: Routing) -> None:
        """Take the routing of the next rows."""
        self._collected.append(routing)
        self._size += len(routing)
        if self._device.type == "cpu":
            self._pairs += int((routing.counts1.long() * routing.counts2).sum())
            enough = self._size >= MIN_TOKENS and self._pairs >= self._enough
        else:
            enough = self._size >= GPU_TOKENS  # to count pairs would wait for the model
        if enough:
            self._hand_over()

    def finish(self) -> Future[None]:
        """Gather what is left and return the future of this last piece."""
        return self._hand_over(last=True)

    def _hand_over(self, last: bool = False) -> Future[None]:
        if self._working is not None:
            self._working.result()
        self._working = self._pool.submit(self._gather, self._row, self._collected, last)
        self._row += self._size
        self._collected, self._size, self._pairs = [], 0, 0
        return self._working

    def _gather(self, row: int, pieces: list[Routing], last: bool) -> None:
        if pieces:
            self._add(row, Routing.cat(pieces))
        if last:
            self.index.flush()

    def _add(self, row: int, routing: Routing) -> None:
        part, rows = self.part, slice(row, row + len(routing))
        global_rows = np.arange(part.first_row, part.end_row)[rows]
        labels, copied = part.label_of_row[rows].astype(np.int64), part.copied[rows]
        # Tokens of copies count, but are listed neither among the best nor among the sampled ones.
        starts, order = (np.where(copied, -1, v) for v in (part.start_of_row[rows], priority(global_rows)))
        fetched = fetch(routing)
        of_rows = (self._there(each) for each in (labels, global_rows, starts, order))
        accumulate(self.total.statistics, routing, *of_rows)
        if copied.any():
            self.total.take_copies(routing[self._there(np.flatnonzero(copied))])
        kept = fetched()
        one = Side.from_padded(kept.indices1.numpy(), kept.probs1.numpy(), kept.num_keys)
        two = Side.from_padded(kept.indices2.numpy(), kept.probs2.numpy(), kept.num_keys)
        sides = [side.only(part.kept[rows]) for side in (one, two)]
        self.routing.write_table(to_arrow(*sides), row_group_size=ROW_GROUP)
        self.index.add(*sides)

    def _there(self, values: NDArray[np.int64]) -> Tensor:
        """Values beside the totals; a GPU's work is not waited for."""
        return torch.from_numpy(values).to(self._device, non_blocking=True)
