"""A run on a filesystem of fsspec is read, analysed and verified as one in a folder is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pandas as pd
import pytest
from fsspec import AbstractFileSystem

from workbench import open_run
from workbench.analysis import analyze_run, read_analysis
from workbench.errors import WorkbenchError
from workbench.store import verify_run
from workbench.store.remote import Remote


def _files(url: str) -> tuple[AbstractFileSystem, str]:
    """The filesystem and path that a URL names."""
    return fsspec.url_to_fs(url)


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, sound_run: Path, tmp_path: Path) -> Iterator[str]:
    """A copy of the sound run, in memory and on a filesystem of files."""
    place = f"memory://{uuid4().hex}/run" if request.param == "memory" else f"file://{tmp_path}/run"
    files, root = _files(place)
    files.put(str(sound_run), root, recursive=True)
    yield place
    files.rm(root, recursive=True)


def test_every_query_gives_what_the_local_run_gives(url, sound_run) -> None:
    here, there = open_run(sound_run), open_run(url)
    assert there.manifest == here.manifest
    pd.testing.assert_frame_equal(there.documents, here.documents)
    pd.testing.assert_frame_equal(there.tokens(), here.tokens())
    expert = int(here.experts(1)["tokens"].idxmax())
    for group in here.groups:
        pd.testing.assert_frame_equal(there.experts(group), here.experts(group))
        pd.testing.assert_frame_equal(there.examples(group, expert, 5), here.examples(group, expert, 5))
        pd.testing.assert_frame_equal(there.histogram(group, expert), here.histogram(group, expert))
        pd.testing.assert_frame_equal(there.activations(group, expert), here.activations(group, expert))
    pd.testing.assert_frame_equal(there.context(3, 0, expert), here.context(3, 0, expert))
    rows = np.array([150, 3, 77])
    assert (there.routing(rows, 1).indices1 == here.routing(rows, 1).indices1).all()
    assert (there.routing(rows, 1).probs2 == here.routing(rows, 1).probs2).all()


def test_the_tokenizer_comes_along(bare_run_path) -> None:
    files, root = _files("memory://tokenizer/run")
    files.put(str(bare_run_path), root, recursive=True)
    here, there = open_run(bare_run_path), open_run("memory://tokenizer/run")
    tokens = here.tokens()["token"].to_numpy()
    assert there.token_text(tokens) == here.token_text(tokens)
    assert there.text(3) == here.text(3)


def test_parts_leave_nothing_on_the_disk(url) -> None:
    run = open_run(url)
    run.activations(0, 17)
    run.tokens()
    assert isinstance(run.path, Remote)
    assert [path.name for path in run.path.local.rglob("*") if path.is_file()] == ["manifest.json"]


def test_what_is_analysed_is_kept_where_the_run_is(url) -> None:
    run = open_run(url)
    with pytest.raises(WorkbenchError, match=f"run `monet analyze {url}`"):
        read_analysis(run, 0)
    analyze_run(run, permutations=0)
    files, root = _files(url)
    assert files.exists(f"{root}/analysis/experts-group-1.parquet")
    pd.testing.assert_frame_equal(read_analysis(open_run(url), 1), read_analysis(run, 1))


def test_verify_finds_what_is_damaged(url) -> None:
    assert verify_run(url) == []
    files, root = _files(url)
    for name, change, said in (
        ("tokens/part-00001.parquet", lambda content: content[:-1], "were written"),
        ("routing/part-00000-group-1.parquet", lambda content: content[:-9] + b"!" + content[-8:], "has changed"),
        ("examples/group-0.parquet", None, "is missing"),
    ):
        content = files.cat_file(f"{root}/{name}")
        if change is None:
            files.rm_file(f"{root}/{name}")
        else:
            files.pipe_file(f"{root}/{name}", change(content))
        (problem,) = verify_run(url)
        assert problem.startswith(f"{name} ")
        assert said in problem
        files.pipe_file(f"{root}/{name}", content)
    files.pipe_file(f"{root}/tokens/part-00002.parquet.tmp", b"half")
    assert verify_run(url) == ["tokens/part-00002.parquet.tmp was left by an interrupted export."]


def test_a_missing_part_is_named_by_its_url(url) -> None:
    files, root = _files(url)
    files.rm_file(f"{root}/index/part-00000-group-0.parquet")
    with pytest.raises(WorkbenchError, match=f"{url}/index/part-00000-group-0.parquet cannot be read"):
        open_run(url).activations(0, 17)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("memory://nothing/here", "there is no run at memory://nothing/here"),
        ("nowhere://bucket/run", "nowhere://bucket/run cannot be reached: Protocol not known"),
    ],
)
def test_a_place_without_a_run(place, said) -> None:
    with pytest.raises(WorkbenchError, match=said):
        open_run(place)
