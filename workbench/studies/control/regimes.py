"""The regimes of a fishery, known from its state alone: how plenty the predator is, and whether stock is plenty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .fishery import Array

FAIR, PLENTY = 0.25, 0.5  # populations of the predator from which it is no longer scarce, and from which it is plenty
STOCK = 0.5  # mean population of X and Y that good policies leave: their escapement
PREDATOR = ("scarce", "fair", "plenty")
REGIMES = tuple(f"predator {level}, stock {side}" for level in PREDATOR for side in ("below", "above"))


def predator_levels(populations: Array) -> NDArray[np.int64]:
    """How plenty the predator is at states (states, 3): (states,) numbers into ``PREDATOR``.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control.regimes import predator_levels
        >>> predator_levels(np.array([[0.5, 0.5, 0.1], [0.5, 0.5, 0.25], [0.5, 0.5, 0.9]]))
        array([0, 1, 2])
    """
    return np.digitize(populations[:, 2], (FAIR, PLENTY)).astype(np.int64)


def regimes(populations: Array) -> NDArray[np.int64]:
    """The regime of states (states, 3): (states,) numbers into ``REGIMES``.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control.regimes import REGIMES, regimes
        >>> REGIMES[regimes(np.array([[0.7, 0.6, 0.1]]))[0]]
        'predator scarce, stock above'
    """
    above = populations[:, :2].mean(1) >= STOCK - 1e-9  # middles of bins add up to it but for rounding
    return 2 * predator_levels(populations) + above


def regime_level(label: str) -> int:
    """The number into ``PREDATOR`` that a regime's name says.

    Raises:
        ValueError: it is no regime.
    """
    return REGIMES.index(label) // 2
