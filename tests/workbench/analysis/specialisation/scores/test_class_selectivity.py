"""Label selectivity by hand."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.analysis.specialisation.scores.class_selectivity import class_selectivity


def test_class_selectivity_by_hand() -> None:
    shares = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1], [0.0, 0.0, 0.0]]).T
    assert class_selectivity(shares).tolist() == pytest.approx([1.0, 0.0, 0.4 / 0.8, 0.0], abs=1e-12)
