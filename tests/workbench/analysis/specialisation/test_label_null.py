"""The permutation test of label preference: against permutations written out, and uniform under the null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from workbench.analysis.activations import CrossTable
from workbench.analysis.significance import benjamini_hochberg
from workbench.analysis.specialisation import label_null
from workbench.analysis.specialisation.label_null import LabelNull, label_scores
from workbench.analysis.specialisation.scores import LabelScore, scores_of_kind

SCORES = list(scores_of_kind(LabelScore))


def table_of(mass: np.ndarray, tokens: np.ndarray) -> CrossTable:
    """The sparse table of dense (experts, documents) arrays."""
    cells = np.nonzero(tokens)
    return CrossTable(*cells, mass[cells].astype(np.float32), tokens[cells].astype(np.int64))


def random_documents(seed: int, experts: int, documents: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Label and size of documents, mass and active tokens of experts in them, all without any relation."""
    rng = np.random.default_rng(seed)
    tokens = rng.poisson(1.5, (experts, documents)) * (rng.random((experts, documents)) < 0.7)
    return (
        rng.permutation(np.arange(documents) % 3),
        rng.integers(20, 90, documents),
        tokens * rng.random(tokens.shape),
        tokens,
    )


@pytest.mark.parametrize(("first_look", "dense_labels"), [(1000, 32), (4, 32), (4, 2)])
def test_label_null_p_values_equal_permutations_written_out(
    monkeypatch: pytest.MonkeyPatch, first_look: int, dense_labels: int
) -> None:
    """One expert, one reordering at a time; those let go early count the reorderings they had."""
    monkeypatch.setattr(label_null, "DENSE_LABELS", dense_labels)
    monkeypatch.setattr(label_null, "FIRST_LOOK", first_look)
    monkeypatch.setattr(label_null, "LET_GO", 3)
    monkeypatch.setattr(label_null, "PERMUTATIONS_AT_ONCE", 5)
    monkeypatch.setattr(label_null, "EXPERTS_AT_ONCE", 7)
    label, sizes, mass, tokens = random_documents(3, 20, 11)
    mass[4, label == 1] += 9.0
    tokens[4, label == 1] += 1
    null = LabelNull(label, sizes, 3, 30, seed=2)
    tested = np.delete(np.arange(20), [0, 9])
    found = null.p_values(table_of(mass, tokens), tested)
    orders = null.orders
    assert (orders[0] == label).all()
    assert (np.sort(orders) == np.sort(label)).all()
    early = 0
    for place, expert in enumerate(tested):
        scores = []
        for order in orders:
            of_label = order == np.arange(3)[:, None]
            by_label = (of_label * mass[expert].astype(np.float32)).sum(1), (of_label * tokens[expert]).sum(1)
            one = label_scores(*(np.float64(v)[:, None] for v in by_label), (of_label * sizes).sum(1))
            scores.append([float(one[name][0]) for name in SCORES])
        far = np.array(scores[1:]) >= np.array(scores[0]) * (1 - 1e-5)
        done = 5 if first_look == 4 and far[:5].sum(0).min() >= 3 else 30
        early += done == 5
        assert [found[n][place] for n in SCORES] == pytest.approx(((1 + far[:done].sum(0)) / (1 + done)).tolist())
    assert (early > 0) == (first_look == 4)
    assert all(found[name][3] < 0.2 for name in ("monosemanticity", "selectivity"))


def test_label_null_p_values_are_uniform_where_labels_mean_nothing() -> None:
    """No more experts are below a level than the level says; with 400 experts that differ, about as many."""
    label, sizes, mass, tokens = random_documents(11, 400, 30)
    found = LabelNull(label, sizes, 3, 99, seed=5).p_values(table_of(mass, tokens), np.arange(400))
    for name in SCORES:
        assert kstest(found[name], "uniform", alternative="greater").pvalue > 0.001
        assert 0.02 < (found[name] <= 0.1).mean() < 0.2


def test_label_null_never_finds_experts_of_one_document() -> None:
    """They have one label only, as under any reordering, however often they fire."""
    label, sizes, mass, tokens = random_documents(0, 5, 12)
    mass[:, :], tokens[:, :] = 0, 0
    mass[np.arange(5), np.arange(5)] = tokens[np.arange(5), np.arange(5)] = 500
    found = LabelNull(label, np.full(12, 600), 3, 99, seed=1).p_values(table_of(mass, tokens), np.arange(5))
    for name in SCORES:
        assert (found[name] == 1).all()


def test_label_null_finds_true_preferences_and_few_others() -> None:
    """Twenty experts of two hundred prefer a label; nearly all are found, and few others."""
    label, sizes, mass, tokens = random_documents(2, 200, 30)
    tokens[:20, label == 2] += 12
    mass[:20, label == 2] += 6.0
    found = LabelNull(label, sizes, 3, 400, seed=3).p_values(table_of(mass, tokens), np.arange(200))
    for name in ("monosemanticity", "selectivity", "information"):
        verdict = benjamini_hochberg(found[name]) <= 0.05
        assert verdict[:20].sum() >= 18
        assert verdict[20:].sum() <= 4


def test_label_null_of_many_labels_is_the_same_in_blocks_of_few_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    label, sizes, mass, tokens = random_documents(4, 60, 90)
    label = np.arange(90) % 45
    found = []
    for dense_labels, cells in ((64, 2**20), (32, 2**20), (32, 45 * 25 * 7)):
        monkeypatch.setattr(label_null, "DENSE_LABELS", dense_labels)
        monkeypatch.setattr(label_null, "CELLS_AT_ONCE", cells)
        null = LabelNull(label, sizes, 45, 60, seed=1)
        found.append(null.p_values(table_of(mass, tokens), np.arange(60)))
    for name in SCORES:
        assert (found[0][name] == found[1][name]).all()
        assert (found[1][name] == found[2][name]).all()
