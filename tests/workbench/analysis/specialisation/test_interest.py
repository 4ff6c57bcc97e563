"""Interest of experts: as its definition gives it, and as one would have it."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench import Run, open_run
from workbench.analysis import interest, read_analysis
from workbench.errors import NotFoundError


@pytest.fixture(scope="module")
def run(run_path: Path) -> Run:
    return open_run(run_path)


def test_agrees_with_the_definition_expert_by_expert(run: Run) -> None:
    found = interest(run, 0)
    for expert in found.index[:12]:
        mass: dict[int, float] = defaultdict(float)
        shown = run.examples(0, int(expert), 1000)
        for token, score in zip(shown["token"], shown["score"].astype(float), strict=True):
            mass[token] += score
        total = sum(mass.values())
        share = {token: part / total for token, part in mass.items()}
        entropy = -sum(p * math.log(p) for p in share.values())
        frequency = {token: float((run.tokens()["token"] == token).mean()) for token in share}
        divergence = sum(p * math.log(p / frequency[token]) for token, p in share.items())
        assert found.loc[expert, "token_entropy"] == pytest.approx(entropy, abs=1e-9)
        assert found.loc[expert, "interest"] == pytest.approx(divergence + math.log(total / len(shown)))


def _made(rows: list[tuple[int, float, int]], counts: list[int]) -> Run:
    table = pd.DataFrame(rows, columns=["expert", "score", "token"])
    return SimpleNamespace(  # type: ignore[return-value]
        best_tokens=lambda _: table, token_counts=np.array(counts), tokens_total=sum(counts)
    )


def test_rare_tokens_interest_more_than_frequent_ones_few_more_than_many_strong_more_than_weak() -> None:
    rows = [(1, 0.5, 0), (1, 0.5, 0), (2, 0.5, 1), (2, 0.5, 1), (3, 0.5, 1), (3, 0.5, 2), (4, 0.1, 1), (4, 0.1, 1)]
    found = interest(_made(rows, [1000, 10, 10]), 0)
    assert found["token_entropy"].tolist() == pytest.approx([0, 0, math.log(2), 0])
    assert found["interest"].idxmax() == 2
    assert found["interest"].idxmin() == 1


def test_scores_of_nothing_leave_an_expert_out() -> None:
    assert interest(_made([(1, 0.0, 0)], [1]), 0).empty


def test_is_stored_with_the_analysis(run: Run) -> None:
    stored, found = read_analysis(run, 1), interest(run, 1)
    for name in ("token_entropy", "interest"):
        np.testing.assert_allclose(stored[name].reindex(found.index), found[name])


def test_group_of_nothing_is_refused(run: Run) -> None:
    with pytest.raises(NotFoundError):
        interest(run, 9)
