"""`monet corpus score`, `scores` and `purge`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset
from typer.testing import CliRunner

from workbench import open_run
from workbench.analysis import correlate_scores, read_purge, read_score_summary
from workbench.cli import app
from workbench.corpus import load_corpus, scoring
from workbench.errors import BadInputError


def invoke(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the pickle: the share of letters."""

    def predict(texts: list[str]) -> np.ndarray:
        return np.array([sum(c.isalpha() for c in text) / max(len(text), 1) for text in texts])

    monkeypatch.setattr(scoring, "import_module", lambda name: SimpleNamespace(predict_prob=predict))


@pytest.fixture
def scored_run(bare_run_path: Path, tmp_path: Path, classifier: None) -> Path:
    """A run over texts that `monet corpus score` gave scores."""
    old = open_run(bare_run_path)
    rows = [{"text": old.text(doc), "label": label} for doc, label in enumerate(old.documents["label"])]
    Dataset.from_list(rows).to_parquet(tmp_path / "corpus.parquet")
    shown = invoke("corpus", "score", tmp_path / "corpus.parquet", tmp_path / "scored.parquet", "--with", "profanity")
    assert "python" in shown
    scores = load_corpus(tmp_path / "scored.parquet")["score"]
    assert f"{max(scores):.3f}" in shown
    invoke("export", old.model_path, tmp_path / "scored.parquet", tmp_path / "run")
    assert open_run(tmp_path / "run").documents["score"].tolist() == scores
    return tmp_path / "run"


def test_scores_and_a_purge(scored_run: Path) -> None:
    found = json.loads(invoke("scores", scored_run, "--json", "--unit", "max"))
    summary = read_score_summary(open_run(scored_run))
    assert summary is not None
    assert found == summary.to_json()
    assert found["unit"] == "max"
    table = invoke("scores", scored_run, "--column", "tokens")
    assert f"{len(open_run(scored_run).documents):,} documents" in table

    found = json.loads(invoke("purge", scored_run, "--json", "--threshold", "0.4", "--threshold", "0.2"))
    purge = read_purge(open_run(scored_run))
    assert purge is not None
    assert found == purge.to_json()
    assert [row["threshold"] for row in found["points"]] == [0.4] * 3 + [0.2] * 3
    table = invoke("purge", scored_run, "--threshold", "0.5", "--with", "profanity", "--prompts", 1)
    assert "expected" in table
    assert "Continuations of toxic prompts" in table
    assert "25 continuations of 20 tokens for each of 1 prompts, scored by profanity" in table


def test_scores_lists_experts_that_are_significant_by_either_correlation(scored_run: Path) -> None:
    summary = correlate_scores(open_run(scored_run))
    shown = invoke("scores", scored_run)
    for row in summary.strongest.itertuples(index=False):
        assert f"{row.group}:{row.expert} " in shown
    assert ("No expert is significant" in shown) == summary.strongest.empty


def test_scores_of_a_corpus_without_scores_say_how_to_make_one(bare_run_path: Path) -> None:
    with pytest.raises(BadInputError, match="has 0 documents with a score.*monet corpus score.*--column tokens"):
        invoke("scores", bare_run_path)


def test_scores_and_purge_keep_a_second_result_under_a_name(scored_run: Path) -> None:
    invoke("scores", scored_run, "--name", "by-length", "--column", "tokens")
    invoke("purge", scored_run, "--name", "by-length", "--column", "tokens", "--threshold", "0.9")
    run = open_run(scored_run)
    summary, result = read_score_summary(run, name="by-length"), read_purge(run, name="by-length")
    assert summary is not None
    assert result is not None
    assert (summary.column, result.column) == ("tokens", "tokens")
    assert read_score_summary(run) is read_purge(run) is None


def test_the_options_of_a_corpus(tmp_path: Path, classifier: None) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "train.csv").write_text("body;lang\nabc;lua\n1234;lua\n;lua\nx\x80;lua\n", encoding="latin-1")
    (tmp_path / "c" / "test.csv").write_text("body;lang\nx;lua\n")
    options = ["--text-column", "body", "--label-column", "lang", "--split", "train", "--encoding-errors", "skip"]
    out = tmp_path / "scored.parquet"
    arguments = ["corpus", "score", tmp_path / "c", out, "--with", "profanity", *options, "--limit", "1"]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert load_corpus(out).to_list() == [{"text": "abc", "label": "lua", "score": 1.0}]
    assert "1 undecodable, 1 empty, 1 beyond the limit" in done.stderr
