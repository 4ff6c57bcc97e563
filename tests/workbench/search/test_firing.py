"""Which experts fire on a text, recounted from each expert's own activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench import Run, open_run
from workbench.errors import BadInputError, NotFoundError, UnsupportedError
from workbench.search import experts_at, experts_firing_on, occurrences


@pytest.fixture(scope="module")
def run(run_path: Path) -> Run:
    return open_run(run_path)


@pytest.mark.parametrize("text", ["e", "print", "<"])
def test_counts_are_those_of_each_expert_s_activations(run: Run, text: str) -> None:
    rows = occurrences(run, text)
    found = experts_firing_on(run, text, limit=10_000)
    assert len(rows)
    assert found["f1"].is_monotonic_decreasing
    for group, part in found.groupby("group"):
        assert set(part["expert"]) == set(run.routing(rows, int(group)).pairs()[1].tolist())
        for row in part.head(20).itertuples(index=False):
            active = run.activations(int(group), int(row.expert))
            scores = active.loc[active["row"].isin(rows), "score"].to_numpy(np.float64)
            assert row.tokens == len(scores)
            assert row.rate == len(scores) / len(rows)
            assert row.precision == len(scores) / len(active)
            assert row.f1 == pytest.approx(2 / (1 / row.rate + 1 / row.precision))
            assert (row.sum, row.mean, row.max) == pytest.approx((scores.sum(), scores.mean(), scores.max()))


def test_chunks_of_rows_give_the_same_counts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = experts_firing_on(run, "e")
    monkeypatch.setattr("workbench.search.firing.ROWS_AT_ONCE", 7)
    assert experts_firing_on(run, "e").equals(whole)


def test_one_group_and_a_limit(run: Run) -> None:
    found = experts_firing_on(run, "e", group=1, limit=3)
    both = experts_firing_on(run, "e", limit=10_000)
    assert found["group"].tolist() == [1, 1, 1]
    assert found["expert"].tolist() == both.loc[both["group"] == 1, "expert"].head(3).tolist()


def test_text_that_does_not_occur_has_no_experts(run: Run) -> None:
    assert experts_firing_on(run, "zebra").empty


def test_bad_choices_are_refused(run: Run, sampled_run: Path) -> None:
    with pytest.raises(NotFoundError, match="no group 9"):
        experts_firing_on(run, "e", group=9)
    with pytest.raises(BadInputError, match="limit"):
        experts_firing_on(run, "e", limit=-1)
    with pytest.raises(UnsupportedError, match="--keep-routing all"):
        experts_at(open_run(sampled_run), np.array([0]), [0])
