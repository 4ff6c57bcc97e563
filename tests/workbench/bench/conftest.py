"""A small run to measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from workbench.export import export_run

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of two parts; not to be changed."""
    folder = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(4)
    rows = [{"input_ids": rng.integers(2, 128, 40).clip(3).tolist(), "label": "ab"[n % 2]} for n in range(6)]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run", part_tokens=120)
    return folder / "run"
