"""Where a remote run cannot be reached, the error names the place and says what the filesystem's library said."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from workbench import open_run
from workbench.analysis import analyze_run
from workbench.errors import WorkbenchError
from workbench.store import verify_run
from workbench.store.files import write_json
from workbench.store.remote import Remote


class NoCredentialsError(Exception):
    """Of no kind but its library's own, as those of clouds are."""


class Failing(MemoryFileSystem):
    """Does what memory:// does, until it is told to fail."""

    protocol = "failing"
    store: ClassVar[dict[str, Any]] = MemoryFileSystem.store
    error: ClassVar[Exception | None] = None
    at: ClassVar[set[str]] = set()

    def _fail(self, what: str) -> None:
        if self.error is not None and what in self.at:
            raise self.error

    def exists(self, path: str, **rest: Any) -> bool:
        self._fail("look")
        return super().exists(path, **rest)

    def info(self, path: str, **rest: Any) -> Any:
        self._fail("look")
        return super().info(path, **rest)

    def find(self, path: str, *arguments: Any, **rest: Any) -> Any:
        self._fail("look")
        return super().find(path, *arguments, **rest)

    def get_file(self, rpath: str, lpath: str, **rest: Any) -> None:
        self._fail("get")
        super().get_file(rpath, lpath, **rest)

    def put_file(self, lpath: str, rpath: str, **rest: Any) -> None:
        self._fail("put")
        super().put_file(lpath, rpath, **rest)

    def rm_file(self, path: str) -> None:
        self._fail("remove")
        super().rm_file(path)

    def _open(self, path: str, mode: str = "rb", **rest: Any) -> Any:
        file = super()._open(path, mode, **rest)
        if mode == "rb":
            read = file.read

            def failing(size: int = -1) -> bytes:
                self._fail("read")
                return read(size)

            file.read = failing
        return file


@pytest.fixture
def url(sound_run: Path) -> Iterator[str]:
    """A copy of the sound run on a filesystem that fails when told."""
    fsspec.register_implementation("failing", Failing, clobber=True)
    place = f"failing://{uuid4().hex}/run"
    files, root = fsspec.url_to_fs(place)
    files.put(str(sound_run), root, recursive=True)
    yield place
    Failing.error, Failing.at = None, set()
    files.rm(root, recursive=True)


def _fail(error: Exception, *at: str) -> None:
    Failing.error, Failing.at = error, set(at)


ERRORS = [
    (PermissionError("Access Denied"), "Access Denied"),
    (NoCredentialsError("Unable to locate\n credentials."), "Unable to locate credentials"),
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), r"\[Errno \d+\] Connection refused"),
    (ValueError("Invalid endpoint: here"), "Invalid endpoint: here"),
    (TimeoutError(), "TimeoutError"),
]


@pytest.mark.parametrize(("error", "said"), ERRORS)
@pytest.mark.parametrize("ask", [open_run, lambda url: analyze_run(open_run(url), permutations=0)])
@pytest.mark.parametrize("at", ["look", "get"])
def test_reading_an_unreachable_run_names_its_url(url, error, said, ask, at) -> None:
    _fail(error, at)
    with pytest.raises(WorkbenchError, match=f"^{url} cannot be reached: {said}; check the address, .*network.$"):
        ask(url)


def test_verify_says_it_too(url) -> None:
    _fail(NoCredentialsError("Unable to locate credentials"), "look")
    (problem,) = verify_run(url)
    assert problem.startswith(f"{url} cannot be reached: Unable to locate credentials;")


@pytest.mark.parametrize(("error", "said"), ERRORS)
def test_it_breaks_off_in_the_middle_of_a_file(url, error, said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.store.runfiles.CACHED_BYTES", 0)  # what is held needs no reading
    run = open_run(url)
    run.examples(0, 17, 3)
    _fail(error, "read")
    with pytest.raises(WorkbenchError, match=f"{url} cannot be reached: {said}; check"):
        run.activations(0, 17)  # of files that are not open yet
    with pytest.raises(WorkbenchError, match=f"{url} cannot be reached: {said}; check"):
        run.examples(0, 17, 3)  # of one that is


@pytest.mark.parametrize(
    "error", [PermissionError("Access Denied"), FileNotFoundError("The specified bucket does not exist")]
)
def test_writing_to_an_unreachable_run_names_its_url(url, error) -> None:
    """What was not sent is not here either: it would pass for what is there."""
    run = open_run(url)
    _fail(error, "put")
    for _ in range(2):
        with pytest.raises(WorkbenchError, match=f"{url} cannot be reached: {error}; check"):
            write_json(run.analysis_path("notes.json"), [1])
    assert not run.analysis_path("notes.json").exists()


def test_removing_from_an_unreachable_run_names_its_url(url) -> None:
    place = Remote(url)
    _fail(PermissionError("Access Denied"), "remove")
    with pytest.raises(WorkbenchError, match=f"{url} cannot be reached: Access Denied"):
        place.remove(["manifest.json"])


@pytest.mark.parametrize("error", [TypeError("'int' object is not callable"), KeyError("name"), AssertionError()])
@pytest.mark.parametrize("at", ["look", "get"])
def test_errors_of_programming_stay(url, error, at) -> None:
    _fail(error, at)
    with pytest.raises(type(error)):
        open_run(url)


@pytest.mark.parametrize("url", ["memory://", "memory:///", "file:///"])
def test_url_without_a_path_is_refused(url) -> None:
    with pytest.raises(WorkbenchError, match=f"^{url} names no folder; give one for the run, such as s3://bucket/run"):
        open_run(url)


def test_a_package_that_is_not_installed(monkeypatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(WorkbenchError, match=r"^s3://bucket/run cannot be reached: Install s3fs to access S3\.$"):
        open_run("s3://bucket/run")


def test_this_machine_has_no_room_for_what_is_fetched(url) -> None:
    _fail(OSError(errno.ENOSPC, "No space left on device"), "get")
    with pytest.raises(
        WorkbenchError, match=f"this machine has no room for temporary files of {url}.*No space left.*TMPDIR"
    ):
        open_run(url)


def test_this_machine_has_no_temporary_folder(url, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(WorkbenchError, match=f"this machine has no room for temporary files of {url}.*TMPDIR"):
        open_run(url)


def test_this_machine_has_no_room_for_what_is_written(url, monkeypatch) -> None:
    """The error says where, which is not where the run is."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = open_run(url).analysis_path("notes.json")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{path}.tmp'"):
        write_json(path, [1])
    assert not path.exists()


def test_half_a_folder_is_none(bare_run_path: Path) -> None:
    """It would pass for the whole one."""
    fsspec.register_implementation("failing", Failing, clobber=True)
    place = f"failing://{uuid4().hex}/run"
    files, root = fsspec.url_to_fs(place)
    files.put(str(bare_run_path), root, recursive=True)
    run, get = Remote(place), Failing.get_file
    whole = {path.name for path in (bare_run_path / "tokenizer").iterdir()}
    assert len(whole) > 1

    def second_fails(self: Failing, rpath: str, lpath: str, **rest: Any) -> None:
        if any(run.local.rglob("*.json")):
            raise ConnectionError("reset by peer")
        get(self, rpath, lpath, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Failing, "get_file", second_fails)
        with pytest.raises(WorkbenchError, match="reset by peer"):
            run / "tokenizer"
    assert {path.name for path in (run / "tokenizer").iterdir()} == whole
