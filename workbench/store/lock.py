"""One writer at a time in the folder of a run on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UnsupportedError
from .schema import TEMPORARY

LOCK = ".lock"  # file in the folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder ``path`` for this process; create it if need be and remove what a crash left half-written.

    Raises:
        UnsupportedError: another process is writing to the folder, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK, timeout=0)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise UnsupportedError(
            f"another export is writing to {path}; wait until it has ended, or choose another folder."
        ) from error
    except OSError as error:
        raise UnsupportedError(f"the run {path} cannot be written: {error}.") from error
    try:
        for left in path.rglob(f"*{TEMPORARY}"):
            left.unlink()
        yield
    finally:
        lock.release()
