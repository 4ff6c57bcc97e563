"""An export to a filesystem of fsspec gives what one to a folder gives, and goes on elsewhere after a crash."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pandas as pd
import pytest

from workbench import open_run
from workbench.errors import WorkbenchError
from workbench.export import export, export_run, pipeline
from workbench.store import verify_run
from workbench.store.remote import Remote

MODEL = Path(__file__).parents[2] / "golden" / "tiny-vd"
SETTINGS: dict[str, Any] = {"batch_size": 3, "context": 48, "part_tokens": 120, "examples": 5}


@pytest.fixture(scope="module")
def corpus(id_documents, id_corpus, tmp_path_factory) -> Path:
    return id_corpus(tmp_path_factory.mktemp("corpus") / "corpus.parquet", id_documents(4, 12))


@pytest.fixture(scope="module")
def local(corpus, tmp_path_factory) -> dict[str, bytes]:
    """The files of the run in a folder."""
    run = tmp_path_factory.mktemp("local") / "run"
    export_run(MODEL, corpus, run, **SETTINGS)
    assert len(open_run(run).manifest["parts"]) > 4
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a run, in memory and on a filesystem of files."""
    yield f"memory://{uuid4().hex}/run" if request.param == "memory" else f"file://{tmp_path}/run"
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()


def _files(url: str) -> dict[str, bytes]:
    files, root = fsspec.url_to_fs(url)
    return {path[len(root) + 1 :]: files.cat_file(path) for path in files.find(root)}


@pytest.fixture
def broken_off(url: str, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The place, after an export of which the process died in the third part, its routing already sent."""
    write, begun = pipeline.write_parquet, 0

    def dying(*arguments: Any, **options: Any) -> None:
        nonlocal begun
        begun += 1
        if begun > 4:  # two files a part
            raise KeyboardInterrupt
        write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_parquet", dying)
        with pytest.raises(KeyboardInterrupt):
            export_run(MODEL, corpus, url, **SETTINGS)
    return url


def test_remote_export_writes_the_files_of_a_local_one(url, corpus, local) -> None:
    export_run(MODEL, corpus, url, **SETTINGS)
    assert _files(url) == local
    assert verify_run(url) == []


def test_remote_export_leaves_only_the_part_in_hand_on_this_machine(url, corpus, monkeypatch) -> None:
    held, add = [], export._save_totals

    def watched(path: Remote, *arguments: Any) -> None:
        add(path, *arguments)
        held.append(sorted(p.relative_to(path.local).as_posix() for p in path.local.rglob("*") if p.is_file()))

    monkeypatch.setattr(export, "_save_totals", watched)
    export_run(MODEL, corpus, url, **SETTINGS)
    assert len(held) > 3
    assert all(names == ["manifest.json"] for names in held)


def test_an_export_that_died_goes_on(broken_off, corpus, local) -> None:
    assert len([name for name in _files(broken_off) if name.startswith("routing/")]) == 6
    with pytest.raises(WorkbenchError, match=f"the run {broken_off} is half-written"):
        open_run(broken_off)
    with pytest.raises(WorkbenchError, match="half-written run; continue it with --resume"):
        export_run(MODEL, corpus, broken_off, **SETTINGS)
    export_run(MODEL, corpus, broken_off, resume=True, **SETTINGS)
    assert _files(broken_off) == local


@pytest.mark.parametrize(
    ("name", "said"), [("state/part-00001-group-0.npz", "has changed"), ("index/part-00000-group-1.parquet", "bytes;")]
)
def test_damage_is_refused(broken_off, corpus, name, said) -> None:
    files, root = fsspec.url_to_fs(broken_off)
    content = bytearray(files.cat_file(f"{root}/{name}"))
    content[len(content) // 2] ^= 1
    files.pipe_file(f"{root}/{name}", bytes(content if said == "has changed" else content[:-1]))
    before = _files(broken_off)
    with pytest.raises(WorkbenchError, match=f"{name} .*{said}"):
        export_run(MODEL, corpus, broken_off, resume=True, **SETTINGS)
    assert _files(broken_off) == before


def test_another_export_is_noticed(broken_off, corpus, monkeypatch) -> None:
    """Between two parts of this one, another export writes its manifest."""
    write = pipeline.write_parquet

    def meanwhile(*arguments: Any, **options: Any) -> None:
        files, root = fsspec.url_to_fs(broken_off)
        files.pipe_file(f"{root}/manifest.json", files.cat_file(f"{root}/manifest.json") + b"\n")
        write(*arguments, **options)

    monkeypatch.setattr(pipeline, "write_parquet", meanwhile)
    with pytest.raises(WorkbenchError, match="another export is writing"):
        export_run(MODEL, corpus, broken_off, resume=True, **SETTINGS)
    assert len(_files(broken_off)) > 10


def test_remote_export_names_a_full_local_disk(url, corpus, local, monkeypatch) -> None:
    """The refusal says which machine's disk it is, and the export goes on when there is room."""
    sync, left = os.fsync, 40

    def full(handle: int) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        said = f"the run {url} cannot be written: .*No space left on device: '.*/monet-.*'; make room and continue with"
        with pytest.raises(WorkbenchError, match=said):
            export_run(MODEL, corpus, url, **SETTINGS)
    export_run(MODEL, corpus, url, resume=True, **SETTINGS)
    assert _files(url) == local


def test_the_connection_ends_for_a_while(url, corpus, local, monkeypatch) -> None:
    files = type(fsspec.url_to_fs(url)[0])
    put, left = files.put_file, 12

    def lost(*arguments: Any, **rest: Any) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise ConnectionResetError("reset by peer")
        put(*arguments, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(files, "put_file", lost)
        with pytest.raises(WorkbenchError, match=f"{url} cannot be reached: reset by peer; check the address"):
            export_run(MODEL, corpus, url, **SETTINGS)
    export_run(MODEL, corpus, url, resume=True, **SETTINGS)
    assert _files(url) == local


def test_nothing_is_left_of_an_export_that_could_not_begin(url, corpus, tmp_path, id_documents, id_corpus) -> None:
    rows = [*id_documents(4, 5), {"input_ids": [128], "label": "code", "source": "", "score": 0.0}]
    with pytest.raises(WorkbenchError, match="token id 128"):
        export_run(MODEL, id_corpus(tmp_path / "bad.parquet", rows), url)
    assert _files(url) == {}


def test_remote_export_refuses_a_place_of_something_else(url, corpus) -> None:
    files, root = fsspec.url_to_fs(url)
    files.makedirs(root)
    files.pipe_file(f"{root}/thesis.txt", b"mine")
    with pytest.raises(WorkbenchError, match=f"{url} is not empty and holds no run"):
        export_run(MODEL, corpus, url)
    assert _files(url) == {"thesis.txt": b"mine"}


def test_text_brings_its_tokenizer(url, bare_run_path, tmp_path) -> None:
    here = open_run(bare_run_path)
    corpus = tmp_path / "corpus.parquet"
    here.documents.assign(text=[here.text(doc) for doc in range(len(here.documents))])[["text", "label"]].to_parquet(
        corpus
    )
    export_run(here.model_path, corpus, url)
    there = open_run(url)
    pd.testing.assert_frame_equal(there.examples(0, 5, 4), here.examples(0, 5, 4).assign(source=""))
    assert {name for name in there.manifest["files"] if name.startswith("tokenizer/")} >= {"tokenizer/tokenizer.json"}
    assert verify_run(url) == []
