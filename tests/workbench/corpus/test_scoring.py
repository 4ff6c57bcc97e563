"""Scores that a classifier gives the texts of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset

from workbench.corpus import load_corpus, load_scorer, score_corpus, scoring
from workbench.errors import BadInputError, NotFoundError, UnsupportedError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.parquet"
    rows = [{"text": "word " * n, "label": "ab"[n % 2], "source": f"{n}", "score": -1} for n in range(1, 6)]
    Dataset.from_list(rows).to_parquet(path)
    return path


def test_scores_are_written_beside_the_texts(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches, in place of the score that was there; everything else is kept."""
    batches: list[int] = []

    def predict(texts: Sequence[str]) -> np.ndarray:
        batches.append(len(texts))
        return np.array([len(text) / 100 for text in texts])

    monkeypatch.setattr(scoring, "BATCH", 2)
    monkeypatch.setattr(scoring, "import_module", lambda name: SimpleNamespace(predict_prob=predict))
    score_corpus(corpus, tmp_path / "out.parquet", "profanity")
    before, after = load_corpus(corpus), load_corpus(tmp_path / "out.parquet")
    assert batches == [2, 2, 1]
    assert after["score"] == [0.05, 0.1, 0.15, 0.2, 0.25]
    assert after.remove_columns("score").to_list() == before.remove_columns("score").to_list()


def test_the_profanity_scorer_knows_an_insult() -> None:
    pytest.importorskip("profanity_check")
    civil, rude = load_scorer("profanity")(["Good morning, dear colleagues.", "You fucking idiot, shut up."])
    assert 0 <= civil < 0.3 < 0.8 < rude <= 1


def test_a_corpus_that_cannot_be_scored_is_refused_and_nothing_is_written(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    with pytest.raises(NotFoundError, match="no classifier 'kindness'"):
        score_corpus(corpus, out, "kindness")
    with pytest.raises(BadInputError, match="must end in .parquet"):
        score_corpus(corpus, tmp_path / "out.csv", "profanity")
    Dataset.from_list([{"input_ids": [1], "label": "a"}]).to_parquet(tmp_path / "ids.parquet")
    with pytest.raises(UnsupportedError, match="a classifier needs text"):
        score_corpus(tmp_path / "ids.parquet", out, "profanity")

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(scoring, "import_module", missing)
    monkeypatch.setattr(scoring, "installed", lambda name: False)
    with pytest.raises(UnsupportedError, match=r"(?s)pip install .*\[profanity\].*pickle"):
        score_corpus(corpus, out, "profanity")
    assert not out.exists()
