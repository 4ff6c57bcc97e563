"""Label information, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.analysis.specialisation.scores.label_information import label_information


@given(active=arrays(np.float64, (3, 5), elements=st.integers(0, 20).map(float)), seed=st.integers(0, 9))
def test_label_information_equals_its_definition(active: np.ndarray, seed: int) -> None:
    """The sum over both values of activity and all labels of p(a, y) log(p(a, y) / p(a) p(y))."""
    sizes = np.random.default_rng(seed).integers(20, 60, 3).astype(float)
    joint = np.stack([active, sizes[:, None] - active]) / sizes.sum()  # (active or not, labels, experts)
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    terms = joint * np.log(np.where(joint > 0, joint, 1) / np.where(joint > 0, apart, 1))
    assert label_information(active, sizes) == pytest.approx(terms.sum((0, 1)), abs=1e-12)
