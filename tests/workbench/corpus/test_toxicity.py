"""Published toxicity files as labelled corpora."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.corpus import load_corpus

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
