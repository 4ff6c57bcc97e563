"""p-values from pooled null scores, and false discovery rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import false_discovery_control

from workbench.analysis.significance import benjamini_hochberg, pooled_p


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)), st.integers(0, 5))
def test_benjamini_hochberg_equals_scipy(p: np.ndarray, untested: int) -> None:
    """Hypotheses that were not tested do not count."""
    q = benjamini_hochberg(np.concatenate([np.full(untested, np.nan), p]))
    assert np.isnan(q[:untested]).all()
    assert q[untested:] == pytest.approx(false_discovery_control(p))


def test_pooled_p_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two strata; each score is held against the null scores of its own."""
    monkeypatch.setattr("workbench.analysis.significance.STRATUM", 4)
    sizes = np.array([1.0, 1, 1, 1, 9, 9, 9, 9])
    null = np.array([0.1, 0.2, 0.3, 0.4, 10, 20, 30, 40])
    p = pooled_p(np.array([0.3, 0.5, 5.0, 25.0, np.nan]), np.array([1.0, 1, 9, 9, 9]), null, sizes)
    assert p[:4].tolist() == [3 / 5, 1 / 5, 5 / 5, 3 / 5]
    assert np.isnan(p[4])
