"""A run on any filesystem of fsspec: its files are fetched on demand and sent when written.

A remote run has a folder on this machine that mirrors it, for as long as the process lives. What is read whole
(manifest, tokenizer, analyses) is fetched into it once; parts are read by ranges and leave nothing on the disk. Every
file that is written into it, in the way all files of a run are (``workbench.store.files.replacing``), is sent on.

All calls of filesystem libraries are in this file; what they raise becomes an error that names the URL and quotes the
library.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from ..errors import BadInputError, NotFoundError, UnsupportedError, WorkbenchError
from .schema import MANIFEST, TEMPORARY

_URL = re.compile(r"[A-Za-z][\w+.-]*://")
_MIRRORS: dict[Path, Remote] = {}
_EXPECTED = (OSError, ImportError, ValueError, NotImplementedError)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class Remote:
    """A folder on a filesystem of fsspec; ``remote / name`` is a local copy of a file in it, or of a folder.

    It supports what is done with the path of a run, so either can be used. Threads may share it.

    Attributes:
        url: where it is.
        name: the last part of that.
        local: the folder on this machine that mirrors it.

    Raises:
        BadInputError: the URL names no folder.
        NotFoundError: there is no such filesystem, or (all methods) the place cannot be reached, or refuses.
        UnsupportedError: a package is not installed, or this machine has no room.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url.rstrip("/")
        with self._reaching():
            self._files, root = url_to_fs(url, use_listings_cache=False)  # others write there too
        self._root = root.rstrip("/")
        self.name = PurePosixPath(self._root).name
        if not self.name:
            raise BadInputError(f"{url} names no folder; give one for the run, such as s3://bucket/run.")
        self._has_folders = bool(self._files.root_marker) or self._root.startswith("/")  # or buckets, with keys in them
        try:
            self._scratch = TemporaryDirectory(prefix="monet-")
        except OSError as error:
            raise self._no_room(error) from error
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
                self._fetch_all(name)
        return path

    def exists(self) -> bool:
        """Whether the place exists."""
        with self._reaching():
            return bool(self._files.exists(self._root))

    def is_dir(self) -> bool:
        """Whether it holds files."""
        with self._reaching():
            return bool(self._files.isdir(self._root))

    def sizes(self) -> dict[str, int]:
        """Path and size in bytes of every file in it, from one listing."""
        with self._reaching(), suppress(FileNotFoundError):
            found = self._files.find(self._root, detail=True)
            return {path[len(self._at("")) :]: int(entry["size"]) for path, entry in found.items()}
        return {}

    def size(self, name: str) -> int | None:
        """Size of a file in bytes, or None if it does not exist."""
        with self._reaching(), suppress(FileNotFoundError):
            return int(self._files.size(self._at(name)))
        return None

    def open(self, name: str, ahead: bool) -> RawIOBase:
        """Open a file for reading from where it is; ``ahead`` reads more than was asked for.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._reaching(FileNotFoundError):
            file = self._files.open(self._at(name), "rb", cache_type="readahead" if ahead else "none")
        return _Reading(self, file)

    def send(self, path: Path) -> None:
        """Send a file of the mirror to its place; a crash leaves the old one or the new one.

        Raises:
            UnsupportedError: it is the manifest, and another process has written that.
        """
        name = path.relative_to(self.local).as_posix()
        if name == MANIFEST and not self.is_ours():
            raise UnsupportedError(f"another export is writing to {self}; wait for it, or choose another place.")
        try:
            with self._reaching():
                self._put(path, self._at(name))
        except BaseException:
            path.unlink(missing_ok=True)  # it would pass for what is there
            raise
        if name == MANIFEST:
            self._manifest = path.read_bytes()

    def _put(self, path: Path, at: str) -> None:
        if not self._has_folders:  # an object is there when all of it is
            self._files.put_file(str(path), at)
            return
        self._files.makedirs(at.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(path), at + TEMPORARY)
        self._files.mv(at + TEMPORARY, at)

    def is_ours(self) -> bool:
        """Whether no other process has written a manifest since this one fetched or sent it, or found none."""
        with self._reaching(), suppress(FileNotFoundError):
            return bytes(self._files.cat_file(self._at(MANIFEST))) == self._manifest
        return self._manifest is None

    def drop(self, names: list[str]) -> None:
        """Remove local copies."""
        for name in names:
            (self.local / name).unlink(missing_ok=True)

    def remove(self, names: list[str]) -> None:
        """Remove files here and there."""
        self.drop(names)
        for name in names:
            with self._reaching(), suppress(FileNotFoundError):
                self._files.rm_file(self._at(name))

    def move(self, old: str, new: str) -> None:
        """Rename a file there, replacing one of that name; local copies of both are removed."""
        self.drop([old, new])
        with self._reaching():
            if self._has_folders:
                self._files.makedirs(self._at(new).rpartition("/")[0], exist_ok=True)
            self._files.mv(self._at(old), self._at(new))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _fetch_all(self, name: str) -> None:
        """Fetch the file of this name, or all files in the folder of this name, if there are any."""
        try:
            with suppress(FileNotFoundError):
                with self._reaching(FileNotFoundError):
                    found = self._files.find(self._at(name))
                for path in found:
                    self._fetch(path[len(self._at("")) :])
        except BaseException:
            shutil.rmtree(self.local / name, ignore_errors=True)  # half a folder
            raise

    def _fetch(self, name: str) -> None:
        path = self.local / name
        coming = path.with_name(path.name + TEMPORARY)
        with self._reaching(FileNotFoundError):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(self._at(name), str(coming))
                if name == MANIFEST:
                    self._manifest = coming.read_bytes()
                coming.replace(path)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise self._no_room(error) from error
                raise

    @contextmanager
    def _reaching(self, *passing: type[Exception]) -> Iterator[None]:
        """Turn what the library raises (credentials, network, missing bucket) into an error that names the place;
        exceptions of the ``passing`` kinds and programming errors are left alone."""
        try:
            yield
        except Exception as error:
            expected = isinstance(error, _EXPECTED) or type(error).__module__ != "builtins"  # or a library's own
            if isinstance(error, (WorkbenchError, *passing)) or not expected:
                raise
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            todo = "" if isinstance(error, ImportError) else "; check the address, the credentials and the network"
            kind = UnsupportedError if isinstance(error, ImportError) else NotFoundError
            raise kind(f"{self.url} cannot be reached: {reason}{todo}.") from error

    def _no_room(self, error: OSError) -> UnsupportedError:
        return UnsupportedError(
            f"this machine has no room for temporary files of {self.url}: {error}; free some disk space, or set "
            "TMPDIR to a folder with more."
        )


class _Reading(RawIOBase):
    """A file that is read from where it is; errors name the place."""

    def __init__(self, remote: Remote, file: Any) -> None:
        self._remote, self._file = remote, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with self._remote._reaching():
            return bytes(self._file.read(size))

    def readinto(self, buffer: Any) -> int:
        with self._remote._reaching():
            return int(self._file.readinto(buffer))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True)
class RemoteFile:
    """A file of a remote run, read from where it is by ranges, on demand."""

    remote: Remote
    name: str

    def __str__(self) -> str:
        return f"{self.remote}/{self.name}"

    def open(self) -> RawIOBase:
        """For reading."""
        return self.remote.open(self.name, ahead=False)


Place = Path | Remote


def place(run: str | Path | Remote) -> Place:
    """Where a run is: a folder of this machine, or one that a URL of fsspec names, such as ``s3://bucket/run``."""
    if isinstance(run, Remote):
        return run
    return Remote(str(run)) if _URL.match(str(run)) else Path(run)


def send_on(path: Path) -> None:
    """Send a file that was written, if it is in the mirror of a remote run."""
    for folder in path.parents:
        if folder in _MIRRORS:
            _MIRRORS[folder].send(path)


def file_sizes(run: Place) -> dict[str, int]:
    """Path and size in bytes of every file in a run's folder."""
    if isinstance(run, Remote):
        return run.sizes()
    return {path.relative_to(run).as_posix(): path.stat().st_size for path in run.rglob("*") if path.is_file()}


def file_size(run: Place, name: str) -> int | None:
    """Size in bytes of a file of a run, or None if it does not exist."""
    if isinstance(run, Remote):
        return run.size(name)
    return (run / name).stat().st_size if (run / name).is_file() else None


def in_ranges(run: Place, name: str) -> Path | RemoteFile:
    """A file of a run to read by ranges."""
    return RemoteFile(run, name) if isinstance(run, Remote) else run / name


def remove_files(run: Place, names: list[str]) -> None:
    """Remove files of a run."""
    if isinstance(run, Remote):
        run.remove(names)
    else:
        for name in names:
            (run / name).unlink()


def move_file(run: Place, old: str, new: str) -> None:
    """Rename a file of a run, replacing one of that name."""
    if isinstance(run, Remote):
        run.move(old, new)
    else:
        (run / new).parent.mkdir(parents=True, exist_ok=True)
        (run / old).replace(run / new)


def open_whole(run: Place, name: str) -> Any:
    """Open a file of a run to read from beginning to end."""
    return run.open(name, ahead=True) if isinstance(run, Remote) else (run / name).open("rb")
