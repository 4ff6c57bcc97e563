"""What an agent sees of a fishery and what it may do, as gymnasium describes it."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from .fishery import Fishery


def observation_space(fishery: Fishery) -> spaces.Box[np.float32]:
    """Populations of the species that the model has, in units of 4."""
    return spaces.Box(0.0, 1.0, (len(fishery.observed),), np.float32)


def action_space(fishery: Fishery) -> spaces.Box[np.float32]:
    """The mortality of every harvested species."""
    return spaces.Box(0.0, 1.0, (len(fishery.harvested),), np.float32)
