"""A small run to read and to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from workbench.export import export_run

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


@pytest.fixture
def run_copy(sound_run: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(sound_run, tmp_path / "run"))
