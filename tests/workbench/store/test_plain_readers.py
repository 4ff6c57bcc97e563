"""Everything a run holds reads in plain pandas, polars and DuckDB, to the same values."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from workbench.analysis import analyze_run
from workbench.store import open_run


@pytest.fixture(scope="module")
def analysed(sound_run, tmp_path_factory) -> Path:
    """A run with what `monet analyze` derives from it."""
    import shutil

    path = Path(shutil.copytree(sound_run, tmp_path_factory.mktemp("plain") / "run"))
    analyze_run(open_run(path))
    return path


def plain(value: object) -> object:
    """A cell as Python's own values; lists of numbers alike from all libraries."""
    if isinstance(value, np.ndarray | list | tuple | pl.Series):
        return [plain(item) for item in value]
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def same(first: list, second: list) -> None:
    assert len(first) == len(second)
    assert [plain(value) for value in first] == [plain(value) for value in second]


def test_every_file_reads_alike(analysed) -> None:
    files = sorted(analysed.rglob("*.parquet"))
    assert {file.relative_to(analysed).parts[0] for file in files} >= {
        "analysis", "documents", "examples", "experts", "index", "routing", "tokens",
    }  # fmt: skip
    for file in files:
        table = pq.read_table(file)
        frames = (pd.read_parquet(file), pl.read_parquet(file), duckdb.sql(f"SELECT * FROM '{file}'").pl())
        for name in table.column_names:
            expected = table[name].to_pylist()
            for frame in frames:
                assert list(frame.columns) == table.column_names
                same(expected, list(frame[name]))


# The README's examples, three lines each.


def test_readme_pandas(analysed) -> None:
    experts = pd.read_parquet(analysed / "experts/group-0.parquet").set_index("expert")
    examples = pd.read_parquet(analysed / "examples/group-0.parquet")
    best = examples[examples["expert"] == experts["mass"].idxmax()]

    run = open_run(analysed)
    expert = int(run.top_experts(0, limit=1).index[0])
    assert best["row"].tolist() == run.examples(0, expert, 32)["row"].tolist()


def test_readme_polars(analysed) -> None:
    tokens = pl.scan_parquet(analysed / "tokens/part-*.parquet").with_row_index("row")
    examples = pl.scan_parquet(analysed / "examples/group-0.parquet").with_columns(pl.col("row").cast(pl.UInt32))
    labels = examples.join(tokens, on="row").group_by("expert", "label").len().collect()

    run = open_run(analysed)
    for expert in (0, 9):
        mine = labels.filter(pl.col("expert") == expert)
        expected = run.examples(0, expert, 32)["label"].value_counts().to_dict()
        assert dict(zip(mine["label"].cast(pl.String), mine["len"], strict=True)) == expected


def test_readme_duckdb(analysed) -> None:
    routing = f"SELECT unnest(keys1) AS key, unnest(probs1) AS prob FROM '{analysed}/routing/part-*-group-0.parquet'"
    query = f"SELECT key, count(*) AS tokens, sum(prob) AS mass FROM ({routing}) GROUP BY key ORDER BY mass DESC"
    keys = duckdb.sql(query).df()

    run = open_run(analysed)
    side1, _ = run.sides(slice(None), 0)
    counts = np.bincount(side1.keys)
    assert dict(zip(keys["key"], keys["tokens"], strict=True)) == {k: n for k, n in enumerate(counts) if n}
    np.testing.assert_allclose(keys["mass"], np.bincount(side1.keys, side1.probs)[keys["key"]], rtol=1e-5)
