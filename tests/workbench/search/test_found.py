"""The top experts of a search, as a row of an edit names them, are those that the search lists."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.analysis.run_model import load_run_model
from workbench.errors import NotFoundError
from workbench.explain import search_explanations
from workbench.search import (
    documents_matching,
    experts_firing_on,
    experts_found,
    experts_of_text,
    strongest_experts,
)
from workbench.store.edit_text import SearchExperts


def _no_model() -> MonetForCausalLM:
    pytest.fail("this search needs no model")


def _pairs(table: pd.DataFrame) -> list[list[int]]:
    pairs: list[list[int]] = table[["group", "expert"]].values.tolist()
    return pairs


def test_experts_that_fire_and_experts_of_a_text(run_path: Path) -> None:
    run = open_run(run_path)
    model = load_run_model(run)
    fired = experts_found(run, SearchExperts("firing", "x", 6), _no_model)
    assert _pairs(fired) == _pairs(experts_firing_on(run, "x", limit=6))
    read = experts_found(run, SearchExperts("text", "x = 1", 6), lambda: model)
    assert _pairs(read) == _pairs(experts_of_text(run, model, "x = 1", limit=6).table)


def test_experts_of_documents_have_the_largest_sum_over_the_matches(run_path: Path) -> None:
    run = open_run(run_path)
    hits = documents_matching(run, "x", limit=100).hits
    summed = pd.concat(
        [strongest_experts(run, hits, group, run.num_keys**2).assign(group=group) for group in run.groups]
    )
    best = summed.groupby(["group", "expert"])["sum"].sum().nlargest(5)
    found = experts_found(run, SearchExperts("documents", "x", 5), _no_model)
    assert sorted(_pairs(found)) == sorted(map(list, best.index))


def test_a_search_that_finds_no_experts_is_said(run_path: Path) -> None:
    run = open_run(run_path)
    assert len(search_explanations(run, "qqqq", 5, None)) == 0
    for kind in ("firing", "documents", "explanations"):
        with pytest.raises(NotFoundError, match=f"search:5/{kind}/qqqq"):
            experts_found(run, SearchExperts(kind, "qqqq", 5), _no_model)
