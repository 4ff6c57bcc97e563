"""Claiming the folder of a run for an export: it must be free, and resumed with the same inputs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from ..errors import BadInputError, UnsupportedError, WorkbenchError
from ..store.lock import LOCK, locked
from ..store.manifest import read_manifest
from ..store.remote import Place, Remote, send_on
from ..store.schema import MANIFEST


def check_free(path: Place, resume: bool) -> None:
    """Raise BadInputError unless an export may write to ``path``: new or empty, or half-written and resumed."""
    if path.exists() and not path.is_dir():
        raise BadInputError(f"{path} is a file; name a folder for the run.")
    if (path / MANIFEST).exists():
        complete = read_manifest(path)["state"] == "complete"
        if not resume:
            raise BadInputError(
                f"{path} already holds a complete run; choose another folder, or remove it first."
                if complete
                else f"{path} holds a half-written run; continue it with --resume, or remove it first."
            )
    elif path.is_dir() and _entries(path) - {LOCK}:
        raise BadInputError(f"{path} is not empty and holds no run; choose another folder.")


def check_same(path: Place, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise BadInputError if a run was begun with another model, tokenizer, corpus or setting."""
    for what in ("model", "tokenizer", "corpus"):
        if found[what] is None or wanted[what] is None:
            same = found[what] is wanted[what]
        else:
            same = found[what]["hash"] == wanted[what]["hash"]
        if not same:
            raise BadInputError(
                f"the run {path} was begun with another {what}; give that one, or choose another folder."
            )
    for name, value in wanted["settings"].items():
        if found["settings"][name] != value:
            raise BadInputError(
                f"the run {path} was begun with {name} {found['settings'][name]}, not {value}; give the same to go on."
            )


def _entries(path: Place) -> set[str]:
    """Names of the folder's entries."""
    return set(path.sizes()) if isinstance(path, Remote) else {entry.name for entry in path.iterdir()}


def save_tokenizer(path: Place, tokenizer: Any) -> None:
    """Keep a copy of the tokenizer in the run."""
    folder = path / "tokenizer"
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        send_on(file)


@contextmanager
def claimed(path: Place) -> Iterator[None]:
    """Hold the folder for this process; empty it again if an error comes before the first part is written.

    A remote folder has no lock: two exports into it at once are noticed when the second writes its manifest.
    """
    existed = path.exists()
    with nullcontext() if isinstance(path, Remote) else locked(path):
        try:
            yield
        except (WorkbenchError, OSError) as error:
            begun = (path / MANIFEST).exists() and bool(read_manifest(path)["parts"])
            if not begun:
                _clear(path, keep=existed)
            if isinstance(error, WorkbenchError):
                raise
            after = "make room and continue with --resume" if begun else "nothing is kept"
            raise UnsupportedError(f"the run {path} cannot be written: {error}; {after}.") from error


def _clear(path: Place, keep: bool) -> None:
    if isinstance(path, Remote):
        if path.is_ours():
            path.remove(list(path.sizes()))
        return
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
    if not keep:
        shutil.rmtree(path)
