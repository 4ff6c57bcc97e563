"""Files of a remote run are sent by several threads at once, whole or not at all, to folders and to buckets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import pyarrow.fs
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.arrow import ArrowFSWrapper

from workbench.errors import WorkbenchError
from workbench.store.files import replacing
from workbench.store.remote import Remote

THREADS = 8


class Buckets(AbstractFileSystem):
    """As much of an object store as writing takes: no folders, and a bucket is there or is not."""

    protocol = "buckets"
    objects: ClassVar[dict[str, bytes]] = {}

    def find(self, path: str, **_: Any) -> list[str]:
        return sorted(name for name in self.objects if f"{name}/".startswith(f"{path}/"))

    def cat_file(self, path: str, **_: Any) -> bytes:
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path]

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        if not rpath.startswith("mine/"):
            raise FileNotFoundError("The specified bucket does not exist")
        self.objects[rpath] = Path(lpath).read_bytes()

    def mkdir(self, path: str, **_: Any) -> None:
        raise AssertionError(f"made {path}")

    makedirs = mkdir


class Arrow(ArrowFSWrapper):
    """Files of this machine through pyarrow, as Hadoop's are; they have no transactions."""

    protocol = "arrow"

    def __init__(self, **options: Any) -> None:
        super().__init__(pyarrow.fs.LocalFileSystem(), **options)


@pytest.fixture(params=["memory", "file", "arrow", "buckets"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a run, of each kind."""
    fsspec.register_implementation("buckets", Buckets, clobber=True)
    fsspec.register_implementation("arrow", Arrow, clobber=True)
    kind = request.param
    yield f"{kind}://{tmp_path}/run" if kind in ("file", "arrow") else f"{kind}://mine/{uuid4().hex}/run"
    Buckets.objects.clear()
    fsspec.filesystem("memory").store.clear()


def _there(url: str) -> dict[str, bytes]:
    files, root = fsspec.url_to_fs(url)
    return {path[len(root) + 1 :]: files.cat_file(path) for path in files.find(root)}


def test_threads_send_at_once(url) -> None:
    place, together = Remote(url), Barrier(THREADS, timeout=60)
    content = {f"routing/part-{n // THREADS}-group-{n % THREADS}": bytes([n]) * (n + 1) * 5000 for n in range(40)}

    def write(name: str) -> None:
        with replacing(place / name) as temporary:
            temporary.write_bytes(content[name])
            together.wait()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, content))
    assert _there(url) == content


def test_what_is_there_is_replaced(url) -> None:
    place = Remote(url)
    for content in (b"first", b"second"):
        with replacing(place / "analysis/notes") as temporary:
            temporary.write_bytes(content)
    assert _there(url) == {"analysis/notes": b"second"}


def test_a_break_leaves_what_was_there(url, monkeypatch) -> None:
    """The connection ends when half a file is sent; on an object store, nothing is there before all is."""
    place = Remote(url)
    with replacing(place / "manifest.json") as temporary:
        temporary.write_bytes(b"old")
    files, put = type(place._files), type(place._files).put_file

    def half(self: AbstractFileSystem, lpath: str, rpath: str, **rest: Any) -> None:
        if not isinstance(self, Buckets):
            Path(lpath).write_bytes(Path(lpath).read_bytes()[:1])
            put(self, lpath, rpath, **rest)
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(files, "put_file", half)
    with pytest.raises(WorkbenchError, match=f"{url} cannot be reached: reset by peer"):
        _write(place / "manifest.json")
    assert _there(url)["manifest.json"] == b"old"


def test_no_bucket_is_made() -> None:
    fsspec.register_implementation("buckets", Buckets, clobber=True)
    path = Remote("buckets://typo/run") / "notes"
    with pytest.raises(WorkbenchError, match="buckets://typo/run cannot be reached: The specified bucket does not"):
        _write(path)
    assert not path.exists()


def _write(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
