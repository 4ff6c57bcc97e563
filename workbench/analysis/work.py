"""The routing that an analysis reads, in tasks that do not depend on each other: several at once, and resumable.

A task is a block of a group's experts. What an expert did, and how it compares with chance, depends on no other expert,
so a result is the same to the bit however many threads or workers compute the tasks, and in whatever order. Passes of a
model over the same documents come one after another, and are kept likewise.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError
from ..progress import Progress, interruptible, job
from ..store.files import replacing, write_json
from ..store.remote import Remote
from .results import Result, result_path, source_of

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run
    from ..store.sample import Sample

Arrays = dict[str, NDArray[Any]]

AHEAD = 2  # tasks per thread that are being computed or wait to be taken: bounds memory
LOOK = 0.2  # seconds until Ctrl-C is noticed


class Task(Protocol):
    """Part of the work, of a known size in units of the progress that is shown; also sent to workers."""

    @property
    def size(self) -> int:
        """How much of the work it is."""


T = TypeVar("T", bound=Task)
Compute = Callable[[T, Progress], Arrays]  # called by several threads; a copy of it by each worker


class Computing(TypedDict, total=False):
    """Where the tasks of an analysis are computed; none of it changes the result.

    Attributes:
        ray: address of a Ray cluster that computes the tasks, or ``local`` for one on this machine; by default as many
            threads of this process as torch has (`OMP_NUM_THREADS`).
        workers: processes of the cluster; 2 by default.
    """

    ray: str | None
    workers: int


class How(Computing, total=False):
    """How an analysis is computed, which does not change the result.

    Attributes:
        resume: go on from the tasks that an interrupted analysis of the same run and settings has finished.
    """

    resume: bool


def computing(how: How) -> Computing:
    """Where the tasks are computed, of how an analysis is."""
    return Computing(ray=how.get("ray"), workers=how.get("workers", 2))


class Stopped(Exception):
    """Raised in threads whose results nobody waits for any more."""


class State:
    """What an analysis has finished so far, kept beside where its result will be until it is written.

    Args:
        run, cls, name: of the result; the folder is its name with ``.state``.
        settings: what the tasks' results depend on, in JSON types; tasks of others are not resumed.
        resume: keep what an earlier analysis of the same run and settings has finished.

    Raises:
        BadInputError: there is something to resume, of other settings.
    """

    def __init__(
        self, run: Run, cls: type[Result], name: str | None, settings: dict[str, Any], resume: bool = False
    ) -> None:
        self._run, self._folder = run, f"{cls.kind}.state"
        self._name = name
        sample = None if run.drawn is None else run.drawn.to_json()
        wanted = {"version": cls.version, "source": source_of(run), "sample": sample} | settings
        # Tasks carry the settings in their names, so that no other analysis that runs beside this one is mixed in.
        self._digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]
        found = self._settings() if resume else None
        if found is not None and found != wanted:
            other = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
            raise BadInputError(
                f"what was begun in {self._at('').parent} differs in {', '.join(other)}; give the same settings "
                "again, or begin anew without --resume."
            )
        if found is None:
            self.remove()
            write_json(self._at("settings.json"), wanted)

    def _at(self, file: str) -> Path:
        return result_path(self._run, f"{self._folder}/{file}", self._name)

    def _task(self, number: int) -> Path:
        return self._at(f"{self._digest}-{number:05d}.npz")

    def _settings(self) -> Any:
        path = self._at("settings.json")
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError:  # cut off
            return None

    def has(self, number: int) -> bool:
        """Whether a task was finished."""
        return self._task(number).is_file()

    def load(self, number: int) -> Arrays:
        """The result of a task that was finished."""
        with np.load(self._task(number), allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}

    def save(self, number: int, arrays: Arrays) -> None:
        """Keep the result of a task."""
        with replacing(self._task(number)) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def remove(self) -> None:
        """Forget everything."""
        place, folder = self._run.path, self._at("").relative_to(Path(self._run.path))
        if isinstance(place, Remote):
            place.remove([name for name in place.sizes() if name.startswith(f"{folder.as_posix()}/")])
        shutil.rmtree(self._at(""), ignore_errors=True)


def kept_passes(
    run: Run,
    cls: type[Result],
    name: str | None,
    model: MonetForCausalLM,
    settings: dict[str, Any],
    *,
    stored: bool = True,
    resume: bool = False,
) -> State | None:
    """The state in which the passes of a model are kept.

    Args:
        run, cls, name: of the result.
        model: where it runs and in which precision belong to the settings, because both change the last digits.
        settings: what the passes depend on, in JSON types.
        stored: whether the result will be.
        resume: keep what an earlier analysis of the same run and settings has finished.

    Returns:
        The state; None where no result will be stored beside it.

    Raises:
        BadInputError: there is something to resume, of other settings, or nothing is ever kept to resume.
    """
    if not stored:
        if resume:
            raise BadInputError(
                "a result of some labels that has no name is not stored, and what it was broken off at neither; give "
                "it a name with --name, or begin anew without --resume."
            )
        return None
    computed = {"device": model.device.type, "dtype": str(model.model.norm.weight.dtype)}
    return State(run, cls, name, computed | settings, resume)


def digest(arrays: Iterable[NDArray[Any]]) -> str:
    """A short digest of arrays, in their order: which experts an analysis chose, among its settings."""
    made = hashlib.sha256()
    for array in arrays:
        made.update(f"{array.dtype} {array.shape}:".encode() + np.ascontiguousarray(array).tobytes())
    return made.hexdigest()[:16]


class Passes:
    """Takes the passes of an analysis in their order, which must be the same each time.

    Args:
        state: what keeps them; None keeps nothing.
        units: of the progress, in one pass.
        advance: told of the units of passes that were done before.
    """

    def __init__(self, state: State | None, units: float, advance: Progress) -> None:
        self._state, self._units, self._advance, self._number = state, units, advance, -1

    def __call__(self, compute: Callable[[], Arrays], units: float | None = None) -> Arrays:
        """The next pass, of so many units if not of as many as the others: as it was kept, or computed and kept."""
        self._number += 1
        if self._state is None:
            return compute()
        if self._state.has(self._number):
            self._advance(self._units if units is None else units)
            return self._state.load(self._number)
        arrays = compute()
        self._state.save(self._number, arrays)
        return arrays


def run_tasks(
    tasks: Sequence[T],
    compute: Compute[T],
    state: State | None,
    title: str,
    unit: str,
    progress: bool,
    *,
    ray: str | None = None,
    workers: int = 2,
) -> Generator[tuple[T, Arrays], None, None]:
    """Yield each task and its result, in order.

    Args:
        tasks: all of them.
        compute: computes one; told how many units of it are done.
        state: keeps what is finished; None for an analysis that keeps nothing.
        title, unit, progress: of the progress shown.
        ray, workers: as ``Computing`` describes them.

    Raises:
        KeyboardInterrupt: Ctrl-C; what is finished is kept for ``resume``.
        BadInputError: there is less than one worker.
        UnsupportedError: as ``on_cluster`` does.
    """
    if workers < 1:
        raise BadInputError(f"workers must be at least 1, got {workers}.")
    with job(title, sum(task.size for task in tasks), unit, progress) as bar, interruptible() as check:
        if ray is None:
            results = _in_threads(tasks, compute, state, bar, check)
        else:
            results = _on_cluster(tasks, compute, state, bar, check, ray, workers)
        with closing(results):
            yield from results


def _in_threads(
    tasks: Sequence[T], compute: Compute[T], state: State | None, bar: Progress, check: Callable[[], None]
) -> Generator[tuple[T, Arrays], None, None]:
    import torch

    from ..threads import thread_pool

    threads, stopped, lock = torch.get_num_threads(), Event(), Lock()
    known = _known(tasks, state)

    def one(number: int) -> Arrays:
        with _counted(tasks[number].size, bar, lock) as advance:

            def going(units: float = 1, note: str = "") -> None:
                if stopped.is_set():
                    raise Stopped
                advance(units, note)

            if state is not None and number in known:
                return state.load(number)
            arrays = compute(tasks[number], going)
            if state is not None:
                state.save(number, arrays)
            return arrays

    with thread_pool(threads) as pool:
        waiting: deque[tuple[int, Future[Arrays]]] = deque()
        left = iter(range(len(tasks)))
        try:
            while True:
                while len(waiting) < AHEAD * threads and (number := next(left, None)) is not None:
                    waiting.append((number, pool.submit(one, number)))
                if not waiting:
                    return
                number, future = waiting.popleft()
                yield tasks[number], _awaited(future, check)
        finally:
            stopped.set()


def _awaited(future: Future[Arrays], check: Callable[[], None]) -> Arrays:
    while True:
        check()
        try:
            return future.result(timeout=LOOK)
        except NotYet:
            if future.done():  # it is what the task raised
                raise


def _on_cluster(
    tasks: Sequence[T],
    compute: Compute[T],
    state: State | None,
    bar: Progress,
    check: Callable[[], None],
    address: str,
    workers: int,
) -> Generator[tuple[T, Arrays], None, None]:
    from ..export.cluster import on_cluster

    known = _known(tasks, state)
    left = [(number, task) for number, task in enumerate(tasks) if number not in known]

    def while_waiting() -> None:
        bar(0)
        check()

    computed = on_cluster(left, _Alone(compute), address, workers, while_waiting, lambda task: f"experts {task}", 1)
    with closing(computed):  # type: ignore[type-var]
        for number, task in enumerate(tasks):
            if state is not None and number in known:
                arrays = state.load(number)
            else:
                arrays = next(computed)[1]
                if state is not None:
                    state.save(number, arrays)
            bar(task.size)
            yield task, arrays


def _known(tasks: Sequence[Task], state: State | None) -> set[int]:
    """Numbers of the tasks that were finished before."""
    return set() if state is None else {number for number in range(len(tasks)) if state.has(number)}


class _Alone:
    """Computes a numbered task in a worker, which shows no progress."""

    def __init__(self, compute: Compute[Any]) -> None:
        self._compute = compute

    def __call__(self, numbered: tuple[int, Any]) -> Arrays:
        from ..progress import silent

        return self._compute(numbered[1], silent)


@contextmanager
def _counted(size: int, bar: Progress, lock: Lock) -> Iterator[Progress]:
    """Progress of one task: what it counts, up to its size; where it counts less, the rest at its end."""
    left = float(size)

    def advance(units: float = 1, note: str = "") -> None:
        nonlocal left
        with lock:
            counted = min(units, left)
            left -= counted
            bar(counted, note)

    yield advance
    advance(left)


def opened_again(path: Any, drawn: Sample | None) -> Run:
    """A run, or a sample of it, as another process has it."""
    from ..store import open_run

    run = open_run(path)
    return run if drawn is None else run.sample(drawn.per_label, drawn.seed, by_size=drawn.by_size)
