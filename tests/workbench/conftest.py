"""Small runs of the golden model, of every kind there is, for tests of several packages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from workbench.export import export_run

GOLDEN = Path(__file__).parents[1] / "golden"


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
