from __future__ import annotations

import numpy as np

from workbench.studies.control.regimes import PREDATOR, REGIMES, predator_levels, regime_level, regimes
from workbench.studies.control.tokens import populations_of, state_bins


def test_every_regime_is_told_from_the_state_alone() -> None:
    states = np.array([[x, x, z] for z in (0.2, 0.3, 0.6) for x in (0.4, 0.6)])
    assert [REGIMES[number] for number in regimes(states)] == list(REGIMES)
    assert [PREDATOR[regime_level(name)] for name in REGIMES] == [name.split()[1].rstrip(",") for name in REGIMES]


def test_edges_of_regimes_are_edges_of_bins() -> None:
    """So the policy, which reads bins, can tell every regime apart."""
    populations = np.linspace(0.01, 1.5, 997)
    states = np.stack([populations, populations, populations], 1)
    bins = 1 + np.arange(3) * 64 + state_bins(states)
    np.testing.assert_array_equal(predator_levels(populations_of(bins)), predator_levels(states))
