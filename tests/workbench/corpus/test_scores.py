"""Published toxicity files as corpora, and scores that a classifier gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from workbench.corpus import load_corpus, load_scorer, score_corpus, scoring
from workbench.errors import WorkbenchError

ATTRIBUTES = (
    "profanity",
    "sexually_explicit",
    "identity_attack",
    "flirtation",
    "threat",
    "insult",
    "severe_toxicity",
    "toxicity",
)


def half(text: str, toxicity: float | None) -> dict[str, Any]:
    """Prompt or continuation as RealToxicityPrompts writes them."""
    return {"text": text} | dict.fromkeys(ATTRIBUTES, 0.1) | {"toxicity": toxicity}


def write_real_toxicity_prompts(path: Path) -> Path:
    """Three rows of ``prompts.jsonl``."""
    rows = [
        {"filename": f"{n}.txt", "begin": 340, "end": 564, "challenging": n == 1}
        | {"prompt": half(text, toxicity), "continuation": half(" and so on", 0.9)}
        for n, (text, toxicity) in enumerate([("A mild day", 0.03), ("You idiot", 0.95), ("Unscored", None)])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ANNOTATED = pd.DataFrame(
    {
        "text": ["they are our neighbours", "they are the worst"],
        "target_group": ["asian", None],
        "factual?": ["Not sure", "No"],
        "ingroup_effect": ["Not sure", "No"],
        "lewd": ["not at all", "not at all"],
        "framing": ["disagree", "agree"],
        "predicted_group": ["asian folks", "nobody"],
        "stereotyping": ["no", "yes"],
        "intent": [1.0, 4.0],
        "toxicity_ai": [1.0, 4.5],
        "toxicity_human": [1.3, 4.7],
        "predicted_author": ["human", "AI"],
        "actual_method": ["topk", "cbs"],
    }
)
GENERATED = pd.DataFrame(
    {
        "prompt": ["- a\n- b", "- c\n- d"],
        "generation": ["a nice thing", "a bad thing"],
        "generation_method": ["ALICE", "TopK"],
        "group": ["women", "lgbtq"],
        "prompt_label": [0, 1],
        "roberta_prediction": [0.002, 0.98],
    }
)


def test_real_toxicity_prompts_as_published(tmp_path: Path) -> None:
    data = load_corpus(write_real_toxicity_prompts(tmp_path / "prompts.jsonl"))
    assert data.to_list() == [
        {"text": "A mild day", "label": "nontoxic", "score": 0.03, "source": "0.txt"},
        {"text": "You idiot", "label": "toxic", "score": 0.95, "source": "1.txt"},
        {"text": "Unscored", "label": "unknown", "score": None, "source": "2.txt"},
    ]


@pytest.mark.parametrize(
    ("table", "texts", "labels", "scores"),
    [
        (ANNOTATED, ["they are our neighbours", "they are the worst"], ["asian", "unknown"], [1.3, 4.7]),
        (GENERATED, ["a nice thing", "a bad thing"], ["women", "lgbtq"], [0.002, 0.98]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_toxigen_as_published(
    tmp_path: Path, table: pd.DataFrame, texts: list[str], labels: list[str], scores: list[float], suffix: str
) -> None:
    path = tmp_path / f"toxigen{suffix}"
    write: Callable[[Path], None] = table.to_parquet if suffix == ".parquet" else lambda p: table.to_csv(p, index=False)
    write(path)
    data = load_corpus(path)
    assert data.column_names == ["text", "label", "score", "source"]
    assert (data["text"], data["label"], data["score"]) == (texts, labels, scores)


def test_a_corpus_with_labels_of_its_own_stays_as_it_is(tmp_path: Path) -> None:
    ANNOTATED.assign(label="mine").to_parquet(tmp_path / "c.parquet")
    data = load_corpus(tmp_path / "c.parquet")
    assert set(data["label"]) == {"mine"}
    assert "score" not in data.column_names


# scoring


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


def test_what_cannot_be_scored_is_said_and_nothing_is_written(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    with pytest.raises(WorkbenchError, match="no scorer is called 'kindness'"):
        score_corpus(corpus, out, "kindness")
    with pytest.raises(WorkbenchError, match="must end in .parquet"):
        score_corpus(corpus, tmp_path / "out.csv", "profanity")
    Dataset.from_list([{"input_ids": [1], "label": "a"}]).to_parquet(tmp_path / "ids.parquet")
    with pytest.raises(WorkbenchError, match="a scorer reads text"):
        score_corpus(tmp_path / "ids.parquet", out, "profanity")

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(scoring, "import_module", missing)
    with pytest.raises(WorkbenchError, match=r"(?s)pip install alt-profanity-check.*pickle"):
        score_corpus(corpus, out, "profanity")
    assert not out.exists()
