"""Tasks of an analysis: in order whatever the threads, resumed from what is finished, interrupted without harm."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from workbench.analysis.results import Result
from workbench.analysis.work import Arrays, State, run_tasks
from workbench.errors import WorkbenchError
from workbench.progress import Progress
from workbench.store import Run


@dataclass(frozen=True)
class Numbered:
    number: int
    size: int = 4


class Toy(Result):
    kind: ClassVar[str] = "toy"
    version: ClassVar[int] = 3
    command: ClassVar[str] = "monet toy"


TASKS = [Numbered(number) for number in range(7)]


class Squares:
    """Squares of the tasks' numbers; remembers which it computed, and can do something on the way."""

    def __init__(self, at: int = -1, act: Any = None) -> None:
        self.computed: list[int] = []
        self._at, self._act, self._lock = at, act, threading.Lock()

    def __call__(self, task: Numbered, advance: Progress) -> Arrays:
        time.sleep(0.01 * (7 - task.number))  # the later ones are done first
        if task.number == self._at:
            self._act()
        advance(3)
        advance(3)
        with self._lock:
            self.computed.append(task.number)
        return {"square": np.array([task.number**2])}


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def found(compute: Squares, state: State | None = None) -> list[tuple[int, int]]:
    results = run_tasks(TASKS, compute, state, "toy", "units", False)
    return [(task.number, int(arrays["square"][0])) for task, arrays in results]


ALL = [(number, number**2) for number in range(7)]


def test_results_come_in_order(threads: int) -> None:
    compute = Squares()
    assert found(compute) == ALL
    assert sorted(compute.computed) == list(range(7))


def test_an_error_of_a_task_is_raised_here(threads: int) -> None:
    def fail() -> None:
        raise WorkbenchError("task 4 fails")

    with pytest.raises(WorkbenchError, match="task 4 fails"):
        found(Squares(4, fail))


def test_finished_tasks_are_not_computed_again(run: Run, threads: int) -> None:
    state = State(run, Toy, None, {"seed": 0})

    def fail() -> None:
        raise WorkbenchError("stop")

    with pytest.raises(WorkbenchError):
        found(Squares(5, fail), state)
    done = {number for number in range(7) if state.has(number)}
    assert {0, 1, 2} <= done
    assert 5 not in done
    again = Squares()
    resumed = State(run, Toy, None, {"seed": 0}, resume=True)
    assert found(again, resumed) == ALL
    assert set(again.computed) == set(range(7)) - done
    resumed.remove()
    assert not (run.path / "analysis" / "toy.state").exists()


def test_without_resume_everything_is_computed_anew(run: Run) -> None:
    found(Squares(), State(run, Toy, "named", {"seed": 0}))
    assert (run.path / "analysis" / "named" / "toy.state").is_dir()
    again = Squares()
    assert found(again, State(run, Toy, "named", {"seed": 0})) == ALL
    assert sorted(again.computed) == list(range(7))


def test_tasks_of_other_settings_are_not_resumed(run: Run) -> None:
    found(Squares(), State(run, Toy, None, {"seed": 0, "ratio": 2.0}))
    with pytest.raises(WorkbenchError, match="differs in ratio, seed; give the same settings again"):
        State(run, Toy, None, {"seed": 1, "ratio": 3.0}, resume=True)
    with pytest.raises(WorkbenchError, match="differs in sample"):
        State(run.sample(2), Toy, None, {"seed": 0, "ratio": 2.0}, resume=True)
    late = State(run, Toy, None, {"seed": 0, "ratio": 2.0}, resume=True)
    other = State(run, Toy, None, {"seed": 1, "ratio": 2.0})
    late.save(0, {"square": np.array([-1])})  # of an analysis that ran beside the other
    assert not other.has(0)


def test_resume_begins_where_there_is_nothing_yet(run: Run) -> None:
    assert found(Squares(), State(run, Toy, None, {}, resume=True)) == ALL


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent to a process")
def test_ctrl_c_ends_it_and_keeps_what_is_finished(run: Run, threads: int) -> None:
    state = State(run, Toy, None, {})
    begun = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        found(Squares(5, lambda: os.kill(os.getpid(), signal.SIGINT)), state)
    assert threading.active_count() == begun
    kept = [number for number in range(7) if state.has(number)]
    assert {0, 1} <= set(kept)
    again = Squares()
    assert found(again, State(run, Toy, None, {}, resume=True)) == ALL
    assert not set(again.computed) & set(kept)


def test_progress_adds_up_to_the_sizes(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A task that counts more than its size, or less, has counted its size at its end."""
    monkeypatch.setenv("MONET_PROGRESS", "json")
    list(run_tasks(TASKS, Squares(), None, "toy", "units", True))
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert '"done": 28' in last
    assert '"total": 28' in last


def test_workers_below_one_are_refused() -> None:
    with pytest.raises(WorkbenchError, match="workers must be at least 1"):
        list(run_tasks(TASKS, Squares(), None, "toy", "units", False, ray="local", workers=0))
