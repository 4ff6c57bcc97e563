"""Harvest rules with a handful of numbers, to stand beside a learned policy."""

from __future__ import annotations

import numpy as np

from .episodes import Policy
from .fishery import Array, Fishery


def constant_mortality(*mortality: float) -> Policy:
    """Take the same share of each harvested species in every step.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import constant_mortality
        >>> constant_mortality(0.3, 0.25)(np.ones((1, 3)))
        array([[0.3 , 0.25]])
    """
    shares = np.array(mortality)
    return lambda populations: np.tile(shares, (len(populations), 1))


def constant_escapement(*escapement: float) -> Policy:
    """Leave the same population of each harvested species, and take what is above: ``max(1 - E / X, 0)``.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import constant_escapement
        >>> constant_escapement(0.4, 0.5)(np.array([[0.8, 0.4, 0.7]]))
        array([[0.5, 0. ]])
    """
    kept = np.array(escapement)
    return lambda populations: escapement_of(populations, kept)


def predator_escapement(*levels: float, slope: float, fair: float) -> Policy:
    """Leave more where the predator is scarce: ``E = level + slope max(fair - Z, 0)``, a level for each species.

    Args:
        levels: population that is left of each harvested species where the predator is plenty.
        slope: how much more is left for each unit that the predator lacks.
        fair: population of the predator that is enough.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import predator_escapement
        >>> rule = predator_escapement(0.33, 0.33, slope=2, fair=0.25)
        >>> rule(np.array([[0.66, 0.66, 0.5], [0.66, 0.66, 0.05]]))
        array([[0.5, 0.5], [0. , 0. ]])
    """
    kept = np.array(levels)

    def rule(populations: Array) -> Array:
        lacking = np.maximum(fair - populations[:, 2:], 0)
        return escapement_of(populations, kept + slope * lacking)

    return rule


def rough_rule(fishery: Fishery) -> Policy:
    """``predator_escapement`` with round numbers, untuned: 0.33 + 2 max(0.25 - Z, 0) of each harvested species is left.

    It gives up a little reward for episodes that nearly all last: 67.9 and 99 % in Model 3, 50.1 and 99 % in Model 4.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import Fishery, rough_rule
        >>> rough_rule(Fishery.of(3))(np.array([[0.66, 0.33, 0.5]]))
        array([[0.5, 0. ]])
    """
    return predator_escapement(*[0.33] * len(fishery.harvested), slope=2, fair=0.25)


def escapement_of(populations: Array, kept: Array) -> Array:
    """The mortality that leaves so much of the harvested species.

    Args:
        populations: (states, 3).
        kept: (states, harvested species), or (harvested species,) for all states.
    """
    return np.maximum(1 - kept / np.maximum(populations[:, : kept.shape[-1]], 1e-12), 0)
