"""A run on any filesystem of fsspec: its files are fetched when asked for, and sent when written.

A remote run has a folder on this machine that mirrors it, for as long as the process lives. What is read whole
(manifest, tokenizer, analyses) is fetched into it once; parts are read by ranges and leave nothing on the disk. Every
file that is written into it, in the way all files of a run are (:func:`workbench.store.files.replacing`), is sent on.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, BinaryIO

from ..errors import WorkbenchError
from .schema import MANIFEST

_URL = re.compile(r"[A-Za-z][\w+.-]*://")
_MIRRORS: dict[Path, Remote] = {}


class Remote:
    """A folder on a filesystem of fsspec; ``remote / name`` is a local copy of a file in it, or of a folder.

    It does what is asked of the path of a run, so that either can stand for the other.

    Attributes:
        url: where it is.
        name: the last part of that.
        local: the folder on this machine that mirrors it.

    Raises:
        WorkbenchError: there is no such filesystem, or a package that it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        try:
            self._files, self._root = url_to_fs(url, use_listings_cache=False)  # others write there too
        except (ImportError, ValueError) as error:
            raise WorkbenchError(f"{url} cannot be reached: {error}.") from error
        self.url, self.name = url, PurePosixPath(self._root).name
        self._scratch = TemporaryDirectory(prefix="monet-")
        self.local = Path(self._scratch.name) / self.name
        self._lock = Lock()
        self._manifest: bytes | None = None  # as it was last fetched or sent
        _MIRRORS[self.local] = self

    def __str__(self) -> str:
        return self.url

    def __reduce__(self) -> tuple[type[Remote], tuple[str]]:
        return Remote, (self.url,)  # another process has a mirror of its own

    def __fspath__(self) -> str:
        return str(self.local)

    def __truediv__(self, name: str) -> Path:
        path = self.local / name
        with self._lock:
            if not path.exists():
                for found in self._find(name):
                    self._fetch(found)
        return path

    def exists(self) -> bool:
        """Whether there is anything."""
        return bool(self._files.exists(self._root))

    def is_dir(self) -> bool:
        """Whether it holds files."""
        return bool(self._files.isdir(self._root))

    def sizes(self) -> dict[str, int]:
        """Path of every file in it, and its bytes; one listing."""
        found = self._files.find(self._root, detail=True)
        return {path[len(self._at("")) :]: int(entry["size"]) for path, entry in found.items()}

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""
        try:
            return int(self._files.size(self._at(name)))
        except FileNotFoundError:
            return None

    def open(self, name: str, ahead: bool) -> BinaryIO:
        """A file to read from where it is; ``ahead`` of what is asked for, or exactly that."""
        file: BinaryIO = self._files.open(self._at(name), "rb", cache_type="readahead" if ahead else "none")
        return file

    def send(self, path: Path) -> None:
        """Puts a file of the mirror in its place; a crash leaves the old one or the new one.

        Raises:
            WorkbenchError: it is the manifest, and another process has written that.
        """
        name = path.relative_to(self.local).as_posix()
        if name == MANIFEST and not self.is_ours():
            raise WorkbenchError(f"another export is writing to {self}; wait for it, or choose another place.")
        self._files.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
        with self._files.transaction, path.open("rb") as source, self._files.open(self._at(name), "wb") as target:
            shutil.copyfileobj(source, target, 2**22)
        if name == MANIFEST:
            self._manifest = path.read_bytes()

    def is_ours(self) -> bool:
        """Whether nobody has written a manifest since this process fetched or sent it, or found none."""
        try:
            return bytes(self._files.cat_file(self._at(MANIFEST))) == self._manifest
        except FileNotFoundError:
            return self._manifest is None

    def drop(self, names: list[str]) -> None:
        """Gives back the room that local copies take."""
        for name in names:
            (self.local / name).unlink(missing_ok=True)

    def remove(self, names: list[str]) -> None:
        """Removes files here and there."""
        self.drop(names)
        for name in names:
            self._files.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _find(self, name: str) -> list[str]:
        """Files that a name stands for: itself, or all in a folder."""
        return [path[len(self._at("")) :] for path in self._files.find(self._at(name))]

    def _fetch(self, name: str) -> None:
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coming = path.with_name(path.name + ".coming")
        self._files.get_file(self._at(name), str(coming))
        if name == MANIFEST:
            self._manifest = coming.read_bytes()
        coming.replace(path)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a remote run, to be read from where it is, by ranges, each as it is asked for."""

    remote: Remote
    name: str

    def __str__(self) -> str:
        return f"{self.remote}/{self.name}"

    def open(self) -> BinaryIO:
        """For reading."""
        return self.remote.open(self.name, ahead=False)


Place = Path | Remote


def place(run: str | Path | Remote) -> Place:
    """Where a run is: a folder of this machine, or one that a URL of fsspec names, such as ``s3://bucket/run``."""
    if isinstance(run, Remote):
        return run
    return Remote(str(run).rstrip("/")) if _URL.match(str(run)) else Path(run)


def send_on(path: Path) -> None:
    """Sends a file that was written, if it stands in the mirror of a remote run."""
    for folder in path.parents:
        if folder in _MIRRORS:
            _MIRRORS[folder].send(path)


def file_sizes(run: Place) -> dict[str, int]:
    """Path of every file in a run's folder, and its bytes."""
    if isinstance(run, Remote):
        return run.sizes()
    return {path.relative_to(run).as_posix(): path.stat().st_size for path in run.rglob("*") if path.is_file()}


def file_size(run: Place, name: str) -> int | None:
    """Bytes of a file of a run, or None where there is none."""
    if isinstance(run, Remote):
        return run.size(name)
    return (run / name).stat().st_size if (run / name).is_file() else None


def in_ranges(run: Place, name: str) -> Path | RemoteFile:
    """A file of a run of which only the ranges asked for are read."""
    return RemoteFile(run, name) if isinstance(run, Remote) else run / name


def remove_files(run: Place, names: list[str]) -> None:
    """Removes files of a run."""
    if isinstance(run, Remote):
        run.remove(names)
    else:
        for name in names:
            (run / name).unlink()


def open_whole(run: Place, name: str) -> Any:
    """A file of a run, to be read in order."""
    return run.open(name, ahead=True) if isinstance(run, Remote) else (run / name).open("rb")
