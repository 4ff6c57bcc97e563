"""A pool of threads beside torch's own; each task runs on one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def thread_pool(threads: int, own: int = 1) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads, each of which computes with ``own`` of torch's threads; it ends with the context.

    Tasks that have begun are then finished, and the others are dropped.
    """
    before, started = torch.get_num_threads(), Barrier(threads)

    def start(_: int) -> None:
        torch.get_num_threads()  # else the first computation of a thread takes the number set last, by any thread
        torch.set_num_threads(own)
        started.wait()

    pool = ThreadPoolExecutor(threads)
    try:
        list(pool.map(start, range(threads)))
        torch.set_num_threads(before)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_threads(act: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return ``act(item)`` for each item, in order, computed by as many threads as torch has."""
    with thread_pool(torch.get_num_threads()) as pool:
        return list(pool.map(act, items))
