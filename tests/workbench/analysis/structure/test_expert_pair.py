"""Two experts token by token, against dense scores over all tokens of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench import Run, open_run
from workbench.analysis import pair_overlap


@pytest.fixture(scope="module")
def run(bare_run_path: Path) -> Run:
    return open_run(bare_run_path)


def _scores(run: Run, group: int, expert: int) -> np.ndarray:
    """(token rows,) from the stored routing, dense."""
    i, j = divmod(expert, run.num_keys)
    first, second = run.routing(slice(None), group).dense()
    scores: np.ndarray = (first[:, :, i] * second[:, :, j]).sum(1).double().numpy()
    return scores


@pytest.mark.parametrize("groups", [(0, 0), (0, 1), (1, 1)])
def test_counts_and_cosine_are_those_of_dense_scores(run: Run, groups: tuple[int, int]) -> None:
    ids = [int(run.top_experts(group, limit=5).index[at]) for at, group in enumerate(groups)]
    a, b = (_scores(run, group, expert) for group, expert in zip(groups, ids, strict=True))
    found = pair_overlap(*(run.activations(group, expert) for group, expert in zip(groups, ids, strict=True)))
    both, either = (a > 0) & (b > 0), (a > 0) | (b > 0)
    assert found.together["row"].tolist() == np.flatnonzero(both).tolist()
    assert both.any()
    assert found.tokens == (int((a > 0).sum()), int((b > 0).sum()))
    assert found.jaccard == pytest.approx(both.sum() / either.sum())
    assert found.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-5)
    assert np.allclose(found.together["second"], b[both], rtol=1e-5)
    assert found.chance(len(a)) == pytest.approx((a > 0).mean() * (b > 0).mean() * len(a))


def test_an_expert_that_is_never_active_shares_nothing(run: Run) -> None:
    active = run.activations(0, int(run.top_experts(0, limit=1).index[0]))
    none = pair_overlap(active, active.iloc[:0])
    assert (len(none.together), none.jaccard) == (0, 0)
    assert np.isnan(none.cosine)
    assert np.isnan(pair_overlap(active.iloc[:0], active.iloc[:0]).jaccard)
