"""Copies of small runs to damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.store.manifest import describe_file, write_manifest


@pytest.fixture
def run_copy(sound_run: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(sound_run, tmp_path / "run"))


@dataclass(frozen=True)
class Copy:
    """A copy of a run to damage in such a way that sizes and checksums in its manifest fit the damage."""

    path: Path

    def edit(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Changes the manifest in place."""
        manifest = json.loads((self.path / "manifest.json").read_text())
        change(manifest)
        write_manifest(self.path, manifest)

    def relist(self) -> None:
        """Enters all files as they are now."""

        def enter(manifest: dict[str, Any]) -> None:
            for files in (manifest["files"], *(part["files"] for part in manifest["parts"])):
                files.update({name: describe_file(self.path / name) for name in files})

        self.edit(enter)

    def read(self, name: str) -> pa.Table:
        """A file of it."""
        return pq.read_table(self.path / name)

    def write(self, name: str, table: pa.Table, **options: Any) -> None:
        """A file in the place of one of it."""
        pq.write_table(table, self.path / name, **options)
        self.relist()

    def rewrite(self, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
        """Changes the content of a file."""
        table = self.read(name)
        changed = change(table)
        assert not changed.equals(table)
        self.write(name, changed)

    def exchange(self, one: str, other: str) -> None:
        """Swaps two files."""
        held = (self.path / one).read_bytes()
        (self.path / one).write_bytes((self.path / other).read_bytes())
        (self.path / other).write_bytes(held)


@pytest.fixture
def copy(run_copy: Path) -> Copy:
    """A copy of the sound run."""
    return Copy(run_copy)


@pytest.fixture
def sampled_copy(sampled_run: Path, tmp_path: Path) -> Copy:
    """A copy of the run that keeps some routing."""
    return Copy(Path(shutil.copytree(sampled_run, tmp_path / "sampled")))


@pytest.fixture
def text_copy(bare_run_path: Path, tmp_path: Path) -> Copy:
    """A copy of a run of texts, with its tokenizer."""
    return Copy(Path(shutil.copytree(bare_run_path, tmp_path / "text")))
