"""Threads of this process beside torch's own: each task runs whole on one of them."""

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
    """So many threads, each of which computes with ``own`` of torch's; when the context ends, they are gone.

    What they have begun is then done, and what they have not is dropped.
    """
    before, started = torch.get_num_threads(), Barrier(threads)

    def start(_: int) -> None:
        torch.get_num_threads()  # otherwise a thread takes the number set last, by any, when it first computes
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
    """What ``act`` gives for each item, in their order, by as many threads at once as torch has."""
    with thread_pool(torch.get_num_threads()) as pool:
        return list(pool.map(act, items))
