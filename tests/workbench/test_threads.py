"""Threads of our own compute with as many of torch's as they are told, whoever sets another number, and end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from workbench.threads import in_threads, thread_pool


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    """As a process of three processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def _asked_by_a_new_thread() -> int:
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    asking.start()
    asking.join()
    return found[0]


def test_each_has_its_own_number_and_others_keep_theirs() -> None:
    here = threading.Barrier(2)

    def number(_: int) -> int:
        here.wait()  # so that each thread has one of the two
        return torch.get_num_threads()

    with thread_pool(2) as ones, thread_pool(2, 2) as twos:
        assert list(ones.map(number, range(2))) == [1, 1]
        assert list(twos.map(number, range(2))) == [2, 2]
        assert torch.get_num_threads() == 3
        assert _asked_by_a_new_thread() == 3


def test_an_error_ends_them_and_drops_what_waits() -> None:
    before, begun = threading.active_count(), []
    ready = threading.Event()

    def act(number: int) -> None:
        begun.append(number)
        ready.wait()

    def interrupted() -> None:
        with thread_pool(2) as pool:
            for number in range(9):
                pool.submit(act, number)
            threading.Timer(0.1, ready.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert threading.active_count() <= before + 1  # the timer's
    assert len(begun) <= 2


def test_results_come_in_order_and_the_first_error_is_raised() -> None:
    assert in_threads(lambda x: x * x, range(20)) == [x * x for x in range(20)]
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda x: 1 // x, [1, 0, 2])
