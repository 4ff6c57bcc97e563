"""`monet diff`, as a person types it, and `monet report --diff`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench import open_run
from workbench.analysis import read_diff
from workbench.cli import app
from workbench.errors import BadInputError, NotAnalysedError, UnsupportedError
from workbench.report import read_csv


def _invoke(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def folder(bare_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny model, and what `monet diff` of that model with itself wrote."""
    made = tmp_path_factory.mktemp("diff")
    shutil.copytree(bare_run_path, made / "run")
    model, corpus = bare_run_path.parent / "model", bare_run_path.parent / "corpus.parquet"
    (made / "told.json").write_text(
        _invoke("diff", model, model, corpus, "--limit", 2, "--out", made / "a/b", "--run", made / "run", "--json")
    )
    return made


def test_it_prints_writes_and_keeps_the_same(folder: Path) -> None:
    told = json.loads((folder / "told.json").read_text())
    kept = read_diff(open_run(folder / "run"))
    assert kept is not None
    assert (told["documents"], told["predicted"]) == (kept.documents, kept.predicted) == (6, kept.predicted)
    assert told == json.loads((folder / "a/b/diff.json").read_text())
    rows = read_csv(folder / "a/b/diff.csv")
    assert rows["expert"].tolist() == kept.experts["expert"].tolist()
    assert (rows["mass_change"] == 0).all()
    assert "How few experts" in (folder / "a/b/diff.html").read_text()


def test_it_prints_tables(bare_run_path: Path) -> None:
    model = bare_run_path.parent / "model"
    shown = _invoke("diff", model, model, bare_run_path.parent / "corpus.parquet", "--limit", 1)
    for said in ("Labels of", "Experts that hold half", "whose mass changed", "lua"):
        assert said in shown


def test_a_run_that_kept_it_makes_the_report_again(folder: Path) -> None:
    for kind in ("json", "parquet"):
        _invoke("report", folder / "run", "--diff", "--out", folder / f"again.{kind}", "--format", kind)
    assert json.loads((folder / "again.json").read_text()) == json.loads((folder / "a/b/diff.json").read_text())
    kept = read_diff(open_run(folder / "run"))
    assert kept is not None
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "again.parquet"), kept.experts)


def test_what_cannot_be_is_named_before_anything_is_read(bare_run_path: Path, folder: Path, tmp_path: Path) -> None:
    model, corpus = bare_run_path.parent / "model", bare_run_path.parent / "corpus.parquet"
    other = shutil.copytree(model, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"note": "changed"}))
    with pytest.raises(UnsupportedError, match="is a run of"):
        _invoke("diff", model, other, corpus, "--run", folder / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="name a folder"):
        _invoke("diff", model, model, corpus, "--out", tmp_path / "file")
    with pytest.raises(NotAnalysedError, match="monet diff"):
        _invoke("report", bare_run_path, "--diff", "--out", tmp_path / "none.html")
    with pytest.raises(BadInputError, match="exactly one"):
        _invoke("report", bare_run_path, "--diff", "--label", "lua", "--out", tmp_path / "none.html")


def test_the_help_of_each_says_how_it_differs_from_the_other() -> None:
    assert "monet compare" in _invoke("diff", "--help")
    assert "monet diff" in _invoke("compare", "--help")
