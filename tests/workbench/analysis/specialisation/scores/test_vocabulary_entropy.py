"""Vocabulary entropy, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from workbench.analysis.specialisation.scores.vocabulary_entropy import vocabulary_entropy


def test_vocabulary_entropy_equals_scipy() -> None:
    counts = np.random.default_rng(4).poisson(1.0, (12, 9))
    counts[0] = [0, 0, 7, 0, 0, 0, 0, 0, 0]
    counts[5] = 0
    found = vocabulary_entropy(*np.nonzero(counts), counts[np.nonzero(counts)])
    assert list(found.index) == [e for e in range(12) if e != 5]
    assert found.to_numpy() == pytest.approx([entropy(row) for row in counts if row.any()])
    assert found[0] == 0
