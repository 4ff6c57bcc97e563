"""Computations run once, one at a time, say how far they are in every process, and start again only after an error."""

from __future__ import annotations

import time
from collections.abc import Hashable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from workbench.dashboard import computing
from workbench.dashboard.computing import Computation, Computations, Report
from workbench.errors import BusyError


def ended(pool: Computations, name: Hashable) -> Computation:
    """The computation of a name once it has ended."""
    for _ in range(6000):
        found = pool.get(name)
        assert found is not None
        if not found.running:
            return found
        time.sleep(0.01)
    pytest.fail(f"{name} did not end")


def test_a_computation_runs_once_and_tells_its_progress_to_all(tmp_path: Path) -> None:
    pool, other, go, halfway, runs = Computations(tmp_path), Computations(tmp_path), Event(), Event(), []

    def work(report: Report) -> str:
        runs.append(report)
        advance = report.expect(10)
        advance(5)
        halfway.set()
        go.wait(60)
        return "done"

    assert pool.get("a") is None
    assert pool.start("a", work).running
    assert halfway.wait(60)
    for one in (pool, other):
        assert one.get("a") == Computation(running=True, percent=50)
        assert one.start("a", work).running
    assert other.start("b", lambda _: "after").running  # its turn has not come
    go.set()
    for one in (pool, other):
        assert ended(one, "a") == Computation(running=False, percent=100, result="done")
        assert ended(one, "b").result == "after"
    assert other.start("a", work).result == "done"
    assert len(runs) == 1


def test_a_computation_that_failed_says_why_and_may_start_again(tmp_path: Path) -> None:
    pool = Computations(tmp_path)

    def fail(_: Report) -> Any:
        raise ValueError("no")

    pool.start("a", fail)
    assert str(ended(pool, "a").error) == "no"
    pool.start("a", lambda _: 1)
    again = ended(pool, "a")
    assert (again.result, again.error) == (1, None)


def test_as_many_wait_as_may_in_all_processes_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "WAITING", 1)
    pool, other, go = Computations(tmp_path), Computations(tmp_path), Event()
    pool.start("a", lambda _: go.wait(60))
    other.start("b", lambda _: 1)
    for one in (pool, other):
        with pytest.raises(BusyError, match="computes one thing at a time, and 1 others wait"):
            one.start("c", lambda _: 1)
        assert one.get("c") is None
        assert one.start("b", lambda _: 2).running  # known already
    go.set()
    assert [ended(pool, name).result for name in "ab"] == [True, 1]
    other.start("c", lambda _: 3)
    assert ended(pool, "c").result == 3


class Awkward(Exception):
    """An error that pickle writes and cannot read."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def test_an_error_that_cannot_be_carried_over_is_told_in_words(tmp_path: Path) -> None:
    pool = Computations(tmp_path)

    def fail(_: Report) -> Any:
        raise Awkward("not", "this")

    pool.start("a", fail)
    assert str(ended(pool, "a").error) == "Awkward: not this"
    assert str(ended(Computations(tmp_path), "a").error) == "Awkward: not this"


def test_a_computation_whose_process_has_gone_may_start_again(tmp_path: Path) -> None:
    pool = Computations(tmp_path)
    pool._path("a").with_suffix(".percent").write_text("40")
    assert pool.get("a") is None
    pool.start("a", lambda _: 1)
    assert ended(pool, "a").result == 1


def test_old_computations_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "KEPT", 2)
    pool = Computations(tmp_path)
    for name in "abc":
        pool.start(name, lambda _: 1)
        ended(pool, name)
        pool.start(f"{name} is dropped after this", lambda _: 1)
    ended(pool, "c is dropped after this")
    assert [pool.get(name) is None for name in "ab"] == [True, True]


def test_a_result_that_another_process_drops_meanwhile_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "dropped.pickle").symlink_to("nowhere")  # listed, and gone when it is looked at
    pool = Computations(tmp_path)
    pool.start("a", lambda _: 1)
    assert ended(pool, "a").result == 1
