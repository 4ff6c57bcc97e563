"""Runs to explain, of both golden models over ids and one of text to score on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from monet_model import MonetForCausalLM
from workbench.export import export_run
from workbench.store import Run, open_run

GOLDEN = Path(__file__).parents[2] / "golden"
torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["tiny-vd", "tiny-hd"])
def golden_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, MonetForCausalLM]:
    """A run of each golden model over two labels of ids, and the model."""
    folder = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(5)
    rows = [
        {"input_ids": [1, *rng.integers(10 + 40 * n, 70 + 40 * n, 90).tolist()], "label": label}
        for n, label in enumerate(("ada", "lisp"))
        for _ in range(3)
    ]
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    export_run(GOLDEN / request.param, folder / "corpus.parquet", folder / "run")
    return open_run(folder / "run"), MonetForCausalLM.from_pretrained(GOLDEN / request.param).eval()


@pytest.fixture
def text_run(text_run_path: Path, tmp_path: Path) -> Run:
    """The run of texts, in a copy that a test may add to."""
    return open_run(shutil.copytree(text_run_path, tmp_path / "run"))
