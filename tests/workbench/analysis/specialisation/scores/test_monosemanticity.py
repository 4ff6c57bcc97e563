"""Monosemanticity by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.analysis.specialisation.scores.monosemanticity import monosemanticity


def test_monosemanticity_by_hand() -> None:
    """Two labels of three alike: the entropy is log 2."""
    shares = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]).T
    assert monosemanticity(shares).tolist() == pytest.approx([1.0, 0.0, 1 - math.log(2) / math.log(3), 0.0])
