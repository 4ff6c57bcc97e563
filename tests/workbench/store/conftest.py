"""A small run to read and to damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from workbench.export import export_run
from workbench.store.manifest import describe_file, write_manifest

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="session")
def sound_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of two parts; not to be changed."""
    folder = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(3)
    rows = [{"input_ids": rng.integers(2, 128, 40).tolist(), "label": "ab"[n % 2]} for n in range(6)]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run", part_tokens=120)
    return folder / "run"


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three tokens, which most experts sleep through, with labels and a source that hide and break out."""
    folder = tmp_path_factory.mktemp("short")
    rows = [
        {"input_ids": [3, 90], "label": '<script>alert("x")</script>', "source": "=1+1,\u202e\n\x00'; DROP TABLE"},
        {"input_ids": [7], "label": "mass:a\nb 'c' \"d\" \u202e%", "source": None},
    ]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def sampled_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps the routing of about half of its documents."""
    folder = tmp_path_factory.mktemp("sampled")
    rng = np.random.default_rng(5)
    rows = [{"input_ids": rng.integers(2, 128, 9).tolist(), "label": "ab"[n % 2]} for n in range(12)]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run", keep_routing=0.5)
    return folder / "run"


@pytest.fixture(scope="session")
def windowed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of short context windows, some cut by a document's end, of documents that open with a start-of-text token
    and ones that do not, an empty one among them; the routing of some is not kept."""
    folder = tmp_path_factory.mktemp("windowed")
    rng = np.random.default_rng(6)
    sizes = (8, 20, 0, 3, 16, 1, 31, 9)
    rows = [
        {"input_ids": [1] * (n % 2) + rng.integers(2, 128, size).tolist(), "label": "a"} for n, size in enumerate(sizes)
    ]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run", context=8, keep_routing=0.6)
    return folder / "run"


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
