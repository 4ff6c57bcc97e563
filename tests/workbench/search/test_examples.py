"""Suggested texts occur, and mostly in the label they stand for."""

from __future__ import annotations

from workbench import open_run
from workbench.search import example_queries, examples, occurrences


def test_each_of_the_largest_labels_has_a_text_that_marks_it(run_path, monkeypatch) -> None:
    monkeypatch.setattr(examples, "SHORTEST", 1)  # the run has a token per character
    run = open_run(run_path)
    texts = example_queries(run)
    assert len(set(texts)) == 3
    for label, text in zip(run.label_tokens.nlargest(3).index, texts, strict=True):
        rows = occurrences(run, text)
        docs = run.geometry.places(rows)[0]
        share = (run.documents["label"].iloc[docs] == label).mean()
        assert share > run.label_tokens[label] / run.tokens_total
    assert example_queries(run, 1) == texts[:1]


def test_run_of_single_characters_has_none(run_path) -> None:
    assert example_queries(open_run(run_path)) == []
