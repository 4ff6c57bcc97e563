"""Long computations that a page starts and then asks about, each once, whichever process of the server answers.

What the processes of a server share is a folder of their own: a file that holds a computation's percentage, one with
what it returned or raised, and a lock that tells whether it is still at work.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import Any

from filelock import FileLock, Timeout

from ..errors import BusyError
from ..progress import Progress
from ..store.files import replacing

WAITING = 8  # computations that wait for their turn
KEPT = 64  # computations whose results are kept
LOADED = 4  # of them, those that a process keeps in memory


@dataclass(frozen=True)
class Computation:
    """How a computation stands.

    Attributes:
        running: whether it is still at work, or waits for its turn.
        percent: how much of it is done.
        result: what it returned; None until then.
        error: what it raised; None otherwise.
    """

    running: bool
    percent: int = 0
    result: Any = None
    error: Exception | None = None


class Report:
    """Where a computation says how far it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._total, self._done, self._told = 1.0, 0.0, 0

    def expect(self, total: float) -> Progress:
        """Say how many units there are; returns what is called with the units just done."""
        self._total = max(total, 1.0)

        def advance(units: float = 1, note: str = "") -> None:
            self._done += units
            percent = min(int(100 * self._done / self._total), 100)
            if percent != self._told:
                self._told = percent
                self._path.write_text(f"{percent}")

        return advance


class Computations:
    """The computations of a server by name, one at a time, as each of them fills a core.

    Args:
        folder: what the server's processes share.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._load = lru_cache(maxsize=LOADED)(_load)

    def get(self, name: Hashable) -> Computation | None:
        """How the computation of a name stands; None if it was never started, or long ago."""
        path = self._path(name)
        if (found := self._ended(path)) is not None:
            return found
        if not path.with_suffix(".percent").exists():
            return None
        if _free(self._lock(path)):  # it has just ended, or its process has gone
            return self._ended(path)
        told = path.with_suffix(".percent").read_text()
        return Computation(running=True, percent=int(told or 0))

    def start(self, name: Hashable, work: Callable[[Report], Any]) -> Computation:
        """The computation of a name, started unless it is running or has a result; one that failed starts again.

        Raises:
            BusyError: too many wait already.
        """
        path = self._path(name)
        with FileLock(self._folder / "start.lock"):
            found = self.get(name)
            if found is not None and found.error is None:
                return found
            if self._unfinished() > WAITING:
                raise BusyError(
                    f"this server computes one thing at a time, and {WAITING} others wait; try again when some have "
                    "ended."
                )
            path.unlink(missing_ok=True)
            lock = self._lock(path)
            lock.acquire()
            path.with_suffix(".percent").write_text("0")
            Thread(target=self._run, args=(path, lock, work), daemon=True).start()
        return Computation(running=True)

    def _run(self, path: Path, lock: FileLock, work: Callable[[Report], Any]) -> None:
        try:
            with FileLock(self._folder / "turn.lock"):
                ended = Computation(running=False, percent=100, result=work(Report(path.with_suffix(".percent"))))
        except Exception as error:  # the page that asks is told, whatever it is
            ended = Computation(running=False, error=error)
        try:
            for old in sorted(self._folder.glob("*.pickle"), key=_written)[: 1 - KEPT]:
                old.unlink(missing_ok=True)
                old.with_suffix(".percent").unlink(missing_ok=True)
            with replacing(path) as file:
                file.write_bytes(_packed(ended))
        finally:
            lock.release()

    def _unfinished(self) -> int:
        """Number of computations that are at work or wait for their turn, in any process."""
        paths = (told.with_suffix(".pickle") for told in self._folder.glob("*.percent"))
        return sum(not path.exists() and not _free(self._lock(path)) for path in paths)

    def _ended(self, path: Path) -> Computation | None:
        try:
            return self._load(path, path.stat().st_mtime_ns)
        except FileNotFoundError:
            return None

    def _path(self, name: Hashable) -> Path:
        return self._folder / f"{hashlib.sha256(repr(name).encode()).hexdigest()[:24]}.pickle"

    @staticmethod
    def _lock(path: Path) -> FileLock:
        return FileLock(path.with_suffix(".lock"), thread_local=False)  # taken by one thread, given back by another


def _packed(ended: Computation) -> bytes:
    """A computation for other processes; an error that cannot be carried over goes as its words."""
    try:
        packed = pickle.dumps(ended)
        pickle.loads(packed)
    except Exception:
        if ended.error is None:
            raise
        return pickle.dumps(
            Computation(running=False, error=RuntimeError(f"{type(ended.error).__name__}: {ended.error}"))
        )
    return packed


def _load(path: Path, _stamp: int) -> Computation:
    """What ``Computations`` wrote; the folder is the server's alone."""
    found: Computation = pickle.loads(path.read_bytes())
    return found


def _written(path: Path) -> int:
    """When a file was written, in ns; 0 if it has gone since the folder was listed."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _free(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    lock.release()
    return True
