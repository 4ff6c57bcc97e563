"""The folder of a run that is being written: free to write to, held by one export, of the same inputs throughout."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import WorkbenchError
from ..store.files import TEMPORARY
from ..store.manifest import read_manifest
from ..store.schema import MANIFEST

LOCK = ".lock"


def check_free(path: Path, resume: bool) -> None:
    """Raises WorkbenchError unless an export may write to ``path``: it is new or empty, or half-written and resumed."""
    if path.exists() and not path.is_dir():
        raise WorkbenchError(f"{path} is a file; name a folder for the run.")
    if (path / MANIFEST).exists():
        complete = read_manifest(path)["state"] == "complete"
        if not resume:
            raise WorkbenchError(
                f"{path} already holds a complete run; choose another folder, or remove it first."
                if complete
                else f"{path} holds a half-written run; continue it with --resume, or remove it first."
            )
    elif path.is_dir() and any(entry.name != LOCK for entry in path.iterdir()):
        raise WorkbenchError(f"{path} is not empty and holds no run; choose another folder.")


def check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises WorkbenchError where a run was begun with another model, tokenizer, corpus or setting."""
    for what in ("model", "tokenizer", "corpus"):
        if found[what] is None or wanted[what] is None:
            same = found[what] is wanted[what]
        else:
            same = found[what]["hash"] == wanted[what]["hash"]
        if not same:
            raise WorkbenchError(
                f"the run {path} was begun with another {what}; give that one, or choose another folder."
            )
    for name, value in wanted["settings"].items():
        if found["settings"][name] != value:
            raise WorkbenchError(
                f"the run {path} was begun with {name} {found['settings'][name]}, not {value}; give the same to go on."
            )


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """The folder, made if need be and held for this process alone; emptied again if an error comes before any part."""
    from filelock import FileLock, Timeout

    existed = path.exists()
    lock = FileLock(path / LOCK, timeout=0)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise WorkbenchError(f"another export is writing to {path}; wait for it, or choose another folder.") from error
    except OSError as error:
        raise WorkbenchError(f"the run {path} cannot be written: {error}.") from error
    try:
        for left in path.rglob(f"*{TEMPORARY}"):
            left.unlink()
        yield
    except (WorkbenchError, OSError) as error:
        begun = (path / MANIFEST).exists() and bool(read_manifest(path)["parts"])
        if not begun:
            _clear(path, keep=existed)
        if isinstance(error, WorkbenchError):
            raise
        after = "make room and continue with --resume" if begun else "nothing is kept"
        raise WorkbenchError(f"the run {path} cannot be written: {error}; {after}.") from error
    finally:
        lock.release()


def _clear(path: Path, keep: bool) -> None:
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
    if not keep:
        shutil.rmtree(path)
