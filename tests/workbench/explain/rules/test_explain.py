"""Explaining by rules from end to end: what is stored, what controls are, what is refused."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd
import pytest

from workbench.analysis import READABLE_SCORE, READABLE_TOKENS, analyze_run, read_analysis
from workbench.analysis.encoder import Encoder
from workbench.errors import BadInputError, NotAnalysedError, NotFoundError
from workbench.explain import (
    Person,
    explain_by_rules,
    explain_experts,
    read_explanations,
    readable_experts,
    rule_summary,
    search_explanations,
)
from workbench.explain.rules import explain as module
from workbench.explain.stored import FILE, MEASURED
from workbench.store import Run


def common_experts(run: Run, n: int) -> list[tuple[int, int]]:
    distance = (run.experts(0)["tokens"] - run.tokens_total / 30).abs()
    return [(0, int(expert)) for expert in distance.nsmallest(n, "all").index[:n]]


def test_rules_are_stored_with_figures_and_found_by_their_words(text_run: Run) -> None:
    experts = common_experts(text_run, 4)
    table = explain_by_rules(text_run, experts).table
    assert list(zip(table["group"], table["expert"], strict=True)) == experts
    assert (table["kind"] == "rule").all()
    assert table[[*MEASURED, "detection", "fuzzing", "detection:control", "fuzzing:control"]].notna().all().all()
    figures = table[[*MEASURED, "detection", "fuzzing"]].to_numpy()
    assert ((figures >= 0) & (figures <= 1)).all()
    stored = read_explanations(text_run, *experts[1])
    stored = stored[stored["kind"] == "rule"].iloc[0]
    assert stored["text"] == table["text"][1]
    assert stored["average_precision"] == table["average_precision"][1]
    assert stored["text"] in search_explanations(text_run, table["text"][1])["text"].tolist()


def test_the_same_seed_writes_the_same_bytes_and_batches_are_written_as_they_are_done(
    text_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = common_experts(text_run, 4)
    path = text_run.analysis_path(FILE)
    path.unlink(missing_ok=True)
    explain_by_rules(text_run, experts, seed=3)
    once = path.read_bytes()
    explain_by_rules(text_run, experts, seed=3)
    assert path.read_bytes() == once
    path.unlink()
    monkeypatch.setattr(module, "BATCH", 2)
    write, written = module.write_explanations, []

    def fails_at_the_second(run: Run, rows: pd.DataFrame) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(rows)
        write(run, rows)

    monkeypatch.setattr(module, "write_explanations", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        explain_by_rules(text_run, experts, seed=3)
    assert len(read_explanations(text_run)) == 2


def test_one_expert_alone_has_no_control(text_run: Run) -> None:
    row = explain_by_rules(text_run, common_experts(text_run, 1)).table.iloc[0]
    assert np.isnan(row["average_precision:control"])
    assert np.isnan(row["detection:control"])
    assert row["average_precision:token"] >= 0


def test_readable_experts_need_the_permutation_test(text_run: Run) -> None:
    analyze_run(text_run, permutations=0)
    with pytest.raises(NotAnalysedError, match="without the permutation test"):
        readable_experts(text_run)


def test_readable_experts_are_those_that_lists_show_first(text_run: Run) -> None:
    analyze_run(text_run, permutations=300)
    found = set(readable_experts(text_run))
    assert found
    for group in text_run.groups:
        table = text_run.experts(group).join(read_analysis(text_run, group)[["confirmed"]])
        for expert, row in table.iterrows():
            readable = row["confirmed"] and row["tokens"] >= READABLE_TOKENS and row["max"] >= READABLE_SCORE
            assert ((group, expert) in found) == bool(readable)


@pytest.mark.parametrize(
    ("experts", "error"),
    [([], BadInputError), ([(0, 1), (0, 1)], BadInputError), ([(9, 1)], NotFoundError), ([(0, -1)], NotFoundError)],
)
def test_experts_that_can_not_be_explained(text_run: Run, experts: list[Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        explain_by_rules(text_run, experts)


def test_summary_counts_where_context_matters_by_group() -> None:
    rows = {
        "kind": ["rule", "rule", "rule", "template"],
        "group": [0, 0, 1, 1],
        "average_precision": [0.9, 0.5, np.nan, np.nan],
        "average_precision:token": [0.9, 0.3, np.nan, np.nan],
    }
    none = dict.fromkeys(
        {*MEASURED, "detection", "fuzzing", "detection:control", "fuzzing:control"} - set(rows), np.nan
    )
    first, second = rule_summary(pd.DataFrame(rows | none))
    assert (first["group"], first["experts"], first["measured"], first["context"]) == (0, 2, 2, 1)
    median, low, high = first["medians"]["average_precision"]
    assert (median, low, high) == (0.7, 0.5, 0.9)
    assert (second["experts"], second["measured"], second["medians"]) == (1, 0, {})


def test_searches_by_meaning_read_no_rules(text_run: Run) -> None:
    """There may be thousands, and a sentence encoder would take minutes over them."""
    experts = common_experts(text_run, 2)
    explain_by_rules(text_run, experts)
    explain_experts(text_run, experts[:1], Person("Ada", "Something else."))

    class Counting:
        encoded: ClassVar[list[str]] = []

        def encode(self, texts: list[str]) -> np.ndarray:
            self.encoded.extend(texts)
            return np.ones((len(texts), 1))

    found = search_explanations(text_run, "zebra", 20, cast(Encoder, Counting()))
    assert found["kind"].tolist() == ["person"]
    assert Counting.encoded == ["Something else.", "zebra"]
