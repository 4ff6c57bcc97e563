"""Runs beside a run: found by name in its folder only, and only where their tokens are the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from workbench import open_run
from workbench.errors import BadInputError, NotFoundError, UnsupportedError
from workbench.store.manifest import write_manifest
from workbench.store.siblings import find_sibling, sibling_names


def _changed(run: Path, part: str, **values: Any) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    write_manifest(run, manifest | {part: manifest[part] | values})


@pytest.fixture
def folder(bare_run_path: Path, tmp_path: Path) -> Path:
    """A folder of runs: first, a comparable second, and others that are not; and a run outside of it."""
    for name in ("first", "second", "corpus", "tokenizer", "vocabulary", "half"):
        shutil.copytree(bare_run_path, tmp_path / "runs" / name)
    shutil.copytree(bare_run_path, tmp_path / "outside")
    _changed(tmp_path / "runs" / "corpus", "corpus", hash="0" * 64)
    _changed(tmp_path / "runs" / "tokenizer", "tokenizer", hash={"tokenizer.json": "0" * 64})
    _changed(tmp_path / "runs" / "vocabulary", "model", vocabulary=7)
    half = json.loads((tmp_path / "runs" / "half" / "manifest.json").read_text())
    write_manifest(tmp_path / "runs" / "half", half | {"state": "writing"})
    (tmp_path / "runs" / "no run").mkdir()
    return tmp_path / "runs"


def test_only_runs_of_the_same_tokens_are_named(folder: Path) -> None:
    assert sibling_names(open_run(folder / "first")) == ["second"]
    assert find_sibling(open_run(folder / "first"), "second").path == (folder / "second").resolve()


@pytest.mark.parametrize("name", ["corpus", "tokenizer", "vocabulary"])
def test_a_run_of_other_tokens_is_refused_by_name(folder: Path, name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"differ in their {name}"):
        find_sibling(open_run(folder / "first"), name)


@pytest.mark.parametrize("name", ["../outside", "..", ".", "/etc", "a\\b", "", "a\0b", "x" * 256, "first"])
def test_paths_and_the_run_itself_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(BadInputError):
        find_sibling(open_run(folder / "first"), name)


@pytest.mark.parametrize("name", ["outside", "no run", "-rf"])
def test_a_missing_run_is_not_found(folder: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="no run"):
        find_sibling(open_run(folder / "first"), name)
