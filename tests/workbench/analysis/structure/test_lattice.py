"""Two-way ANOVA of label preference: fits against plain least squares, and planted answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from workbench.analysis.specialisation.shares import label_shares
from workbench.analysis.structure import lattice as lattice_module
from workbench.analysis.structure.lattice import TwoWay, label_preference, lattice_test
from workbench.analysis.sums import LabelSums
from workbench.errors import WorkbenchError
from workbench.store import Run


def test_two_way_fits_are_least_squares() -> None:
    """Against numpy's least squares on the indicator matrix, with rows and columns that hold no cell."""
    rng = np.random.default_rng(0)
    cells = np.sort(rng.choice([e for e in range(49) if e // 7 != 3 and e % 7 != 5], 25, replace=False))
    values = rng.normal(size=(3, 25))
    design = np.concatenate([np.eye(7)[cells // 7], np.eye(7)[cells % 7]], axis=1)
    expected = (design @ np.linalg.lstsq(design, values.T, rcond=None)[0]).T
    assert TwoWay(cells, 7).fitted(values) == pytest.approx(expected)
    assert TwoWay(cells, 7).explained(values) == pytest.approx((expected**2).sum())


def test_preferences_are_made_of_rates() -> None:
    mass = np.array([[2.0, 0.0], [1.0, 4.0], [3.0, 4.0]])
    tokens, label_tokens = np.array([[4.0, 0.0], [2.0, 8.0], [4.0, 8.0]]), np.array([10, 20, 30])
    shares = label_shares(mass, label_tokens)
    assert label_preference(mass, tokens, label_tokens, "sum") == pytest.approx(shares - shares.mean(1, keepdims=True))
    smoothed = np.log(mass / label_tokens[:, None] + np.array([0.6, 0.5]) / 20)
    centred = smoothed - smoothed.mean(0)
    found = label_preference(mass, tokens, label_tokens, "product")
    assert found == pytest.approx(centred - centred.mean(1, keepdims=True))


def planted(part: float, noise: float) -> list[dict[str, Any]]:
    """The test on a lattice of 16 x 16 experts whose label rates are exp(row + column + ``part`` times their own)."""
    rng, keys, labels = np.random.default_rng(1), 16, 3
    row, column = rng.normal(size=(2, labels, keys))
    own = rng.normal(size=(labels, keys, keys))
    rate = np.exp(row[:, :, None] + column[:, None, :] + part * own).reshape(labels, -1)
    tokens = np.full((labels, keys**2), 1000)
    halves = [
        LabelSums(rate * np.exp(noise * rng.normal(size=rate.shape)) * 1000, tokens, np.array([5000, 7000, 9000]))
        for _ in range(2)
    ]
    run = SimpleNamespace(path=Path("run"), num_keys=keys, labels=["a", "b", "c"])
    return lattice_test(run, 0, halves, 50, 0)  # type: ignore[arg-type]


def test_a_product_of_keys_is_told_from_experts_of_their_own() -> None:
    """Noise that only one half has is laid to neither: the part of own meaning comes out as it was planted."""
    _, product = planted(part=0.0, noise=0.5)
    assert product["explained"] > 0.7 > 0.3 > product["null"]
    assert product["p"] == 1 / 51
    assert product["interaction"] == pytest.approx(0, abs=0.03)
    assert product["interaction_p"] > 0.05
    _, own = planted(part=1.0, noise=0.5)
    assert own["interaction"] == pytest.approx(1 / 3, abs=0.06)
    assert own["keys"] == pytest.approx(1 - own["interaction"])
    assert own["interaction_p"] == 1 / 51
    assert own["reliable"] == pytest.approx(3 / 3.25, abs=0.05)
    _, all_own = planted(part=100.0, noise=0.5)
    assert all_own["explained"] == pytest.approx(all_own["null"], abs=0.03)
    assert all_own["p"] > 0.05


def test_halves_share_no_document_and_hold_everything(run: Run) -> None:
    halves = dict(lattice_module.half_sums(run, 3))[0]
    experts = run.experts(0)
    for at, label in enumerate(run.labels):
        tokens = sum(half.tokens[at, experts.index] for half in halves)
        assert (tokens == experts[f"tokens:{label}"]).all()
        sizes = [int(half.label_tokens[at]) for half in halves]
        assert sum(sizes) == run.label_tokens[label]
        documents = run.documents.query("label == @label")["tokens"].tolist()
        assert any(
            sum(n for n, bit in zip(documents, f"{mask:0{len(documents)}b}", strict=True) if bit == "1") == sizes[0]
            for mask in range(2 ** len(documents))
        )


def test_halves_leave_out_documents_without_routing(run: Run) -> None:
    documents = run.documents.assign(kept=run.documents.index % 3 > 0)
    run.__dict__["documents"] = documents
    halves = dict(lattice_module.half_sums(run, 0))[1]
    kept = documents[documents["kept"]].groupby("label")["tokens"].sum()
    assert sum(half.label_tokens for half in halves).tolist() == kept[run.labels].tolist()


def test_too_little_text_for_rows_and_columns_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice_module, "MIN_TOKENS", 10**6)
    with pytest.raises(WorkbenchError, match="Export more text"):
        lattice_test(run, 0, dict(lattice_module.half_sums(run, 0))[0], 5, 0)
