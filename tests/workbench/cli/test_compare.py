"""`monet compare`, as a person types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench import open_run
from workbench.analysis import read_divergence
from workbench.cli import app


@pytest.fixture(scope="module")
def runs(bare_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and a copy."""
    folder = tmp_path_factory.mktemp("runs")
    first, second = (shutil.copytree(bare_run_path, folder / name) for name in ("first", "second"))
    return first, second


def _invoke(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_compare_prints_what_it_stores(runs: tuple[Path, Path]) -> None:
    document = json.loads(_invoke(*runs, "--documents", 6, "--seed", 3, "--json"))
    result = read_divergence(open_run(runs[0]), open_run(runs[1]))
    assert result is not None
    assert {name: document[name] for name in result.to_json()} == result.to_json()
    assert (result.documents, result.seed, result.other) == (6, 3, "second")
    assert [row["label"] for row in document["labels"]] == ["html", "lua", "python", ""]
    assert [row["row"] for row in document["tokens"]] == result.largest(10)["row"].tolist()
    assert all(row["change"] == 0 for row in document["experts"])


def test_compare_prints_tables(runs: tuple[Path, Path]) -> None:
    shown = _invoke(*runs, "--documents", 3)
    for said in ("Divergence of next-token", "all", "Tokens of largest divergence", "Experts whose mass"):
        assert said in shown
