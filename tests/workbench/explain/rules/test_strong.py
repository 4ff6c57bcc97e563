"""Strong tokens: those that hold nine tenths of an expert's mass, which rules tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.explain import explain_by_rules
from workbench.explain.rules.strong import strong_activations
from workbench.store import Run


def of(scores: list[float], doc: list[int] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"row": range(len(scores)), "doc": doc or [0] * len(scores), "score": scores})


def test_they_are_the_fewest_that_hold_nine_tenths_and_those_as_strong_as_the_weakest_of_them() -> None:
    scores = [0.01, 4.0, 0.02, 3.0, 0.03, 3.0]
    assert strong_activations(of(scores), np.array([True]))["score"].tolist() == [4.0, 3.0, 3.0]
    assert strong_activations(of([8.0, 1.0, 1.0, 0.5]), np.array([True]))["score"].tolist() == [8.0, 1.0, 1.0]
    assert len(strong_activations(of([1.0] * 7), np.array([True]))) == 7


def test_the_limit_is_read_off_the_documents_to_learn_from() -> None:
    table = of([0.5, 0.42, 0.08, 9.0, 0.1], [0, 0, 0, 1, 1])
    assert strong_activations(table, np.array([True, False]))["score"].tolist() == [0.5, 0.42, 9.0]
    assert strong_activations(table, np.array([False, True]))["score"].tolist() == [9.0]
    assert strong_activations(table, np.array([False, False])).equals(table)
    assert strong_activations(table.head(0), np.array([True, True])).empty


def test_a_rule_tells_the_strong_tokens_however_many_weak_ones_there_are(
    text_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = text_run.tokens()["token"].to_numpy()
    doc = np.repeat(np.arange(len(text_run.documents)), text_run.documents["tokens"])
    strong, weak = pd.Series(tokens).value_counts().index[[5, 0]]
    rows = np.flatnonzero((tokens == strong) | (tokens == weak))
    scores = np.where(tokens[rows] == strong, 0.5, 1e-4)
    made = pd.DataFrame({"row": rows, "doc": doc[rows], "token": tokens[rows], "score": scores})
    monkeypatch.setattr(Run, "activations", lambda self, group, expert: made)
    row = explain_by_rules(text_run, [(0, 1)]).table.iloc[0]
    assert row["average_precision"] > 0.9
    assert row["average_precision:any"] < 0.7
