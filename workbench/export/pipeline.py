"""Exporting one part: the model reads its documents, and their routing is added to the totals and written."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import ExitStack, closing
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DamagedError
from ..memory import trim_heap
from ..store.files import replacing, write_parquet
from ..store.index import IndexWriter
from ..store.remote import Place
from ..store.routing import PARQUET, ROUTING
from ..store.schema import TOKENS_ROW_GROUP, index_name, part_name, routing_name
from ..threads import thread_pool
from .gather import Gatherer
from .part import Part
from .reader import routing_reader
from .state import Totals

if TYPE_CHECKING:
    from cuda_ext.routing import Routing
    from monet_model import MonetForCausalLM

BATCHES_AHEAD = 2  # batches per thread that are being read or wait to be gathered: bounds memory


class ExportProgress(Protocol):
    """What an export calls for what it has just done."""

    def __call__(self, tokens: int, size: int) -> None:
        """Count token rows as done, and characters or ids of the corpus."""


def pad(batch: list[tuple[NDArray[np.int32], NDArray[np.bool_]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Windows padded on the right: ids, attention mask and which tokens count in statistics, each (batch, tokens)."""
    width = max(len(ids) for ids, _ in batch)
    padded = np.zeros((len(batch), width), np.int64)
    mask = np.zeros((len(batch), width), np.int64)
    counted = np.zeros((len(batch), width), bool)
    for row, (ids, counts) in enumerate(batch):
        padded[row, : len(ids)], mask[row, : len(ids)], counted[row, : len(ids)] = ids, 1, counts
    return torch.from_numpy(padded), torch.from_numpy(mask), torch.from_numpy(counted)


def export_part(
    part: Part, model: MonetForCausalLM, path: Place, batch_size: int, totals: list[Totals], advance: ExportProgress
) -> list[str]:
    """Run the model over a part, write its files, and add it to the totals of each group.

    The totals may be those of the parts before, or empty ones to merge into these later: the outcome is the same. As
    many batches are read at once as torch has threads, each by one thread, so no sum depends on their number.

    Returns:
        Paths of the written files inside the run.

    Raises:
        DamagedError: the model gives NaN or infinity on one of its documents.
    """
    groups = range(len(totals))
    names = [name(part.number, group) for name in (routing_name, index_name) for group in groups]
    with ExitStack() as stack:
        temporary = [stack.enter_context(replacing(path / name)) for name in names]
        routing = [stack.enter_context(pq.ParquetWriter(temporary[group], ROUTING, **PARQUET)) for group in groups]
        shape = model.config.moe_heads, model.config.moe_experts
        index = [stack.enter_context(IndexWriter(temporary[len(groups) + group], *shape)) for group in groups]
        pool = stack.enter_context(thread_pool(len(groups), max(1, torch.get_num_threads() // len(groups))))
        gatherers = [Gatherer(part, *each, pool) for each in zip(totals, routing, index, strict=True)]
        rows_done = size_done = 0
        for routings in stack.enter_context(closing(_read(part, model, batch_size))):
            for gatherer, rows in zip(gatherers, routings, strict=True):
                gatherer.take(rows)
            rows_done += len(routings[0])
            size = part.size * rows_done // max(part.rows, 1)
            advance(len(routings[0]), size - size_done)
            size_done = size
        for finished in [gatherer.finish() for gatherer in gatherers]:
            finished.result()
    for folder, table in (("tokens", part.tokens_table()), ("documents", part.documents_table())):
        names.append(part_name(folder, part.number))
        write_parquet(path / names[-1], table, row_group_size=TOKENS_ROW_GROUP)
    trim_heap()
    return names


def _read(part: Part, model: MonetForCausalLM, batch_size: int) -> Generator[list[Routing], None, None]:
    """For each batch in order, the routing of its token rows per group.

    Raises:
        DamagedError: as ``export_part`` does.
    """

    def read(batch: list[tuple[NDArray[np.int32], NDArray[np.bool_]]]) -> list[Routing]:
        ids, mask, counted = pad(batch)
        chosen = counted.flatten().nonzero().squeeze(1)
        padded = None if mask.all() else mask.to(device, non_blocking=True)  # else transformers would ask the GPU
        ids, chosen = (each.to(device, non_blocking=True) for each in (ids, chosen))
        return [routing[chosen] for routing in read_routing(ids, padded)]

    device = model.device
    threads, row = torch.get_num_threads() if device.type == "cpu" else 1, 0
    left = iter(part.batches(batch_size))
    reading: deque[Future[list[Routing]]] = deque()
    with routing_reader(model) as read_routing, thread_pool(threads) as pool:
        while True:
            reading.extend(pool.submit(read, batch) for batch in islice(left, BATCHES_AHEAD * threads - len(reading)))
            if not reading:
                return
            try:
                routings = reading.popleft().result()
            except ValueError as error:
                where = part.around(row)
                raise DamagedError(f"the model cannot route a context window of {where}: {error}") from error
            row += len(routings[0])
            yield routings
