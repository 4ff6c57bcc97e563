"""States as an agent observes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .fishery import UNIT, Array, Fishery

Floats = NDArray[np.float32]


def observe(fishery: Fishery, populations: Array) -> Floats:
    """Observations (states, species) of populations (states, 3); one above 4, which none reaches, counts as 4."""
    return (populations[:, fishery.observed] / UNIT).clip(0, 1).astype(np.float32)


def observed_populations(fishery: Fishery, observations: Floats) -> Array:
    """The populations (states, 3) of observations (states, species); those of species that are not observed are 0."""
    populations = np.zeros((len(observations), 3))
    populations[:, fishery.observed] = observations.astype(np.float64) * UNIT
    return populations
