"""The four-number harvest rule that a policy is read as."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from .fishery import Array


@dataclass(frozen=True)
class HarvestRule:
    """A rule of four numbers, the same for all harvested species; it is a policy, to be called with populations.

    Attributes:
        level: escapement where the predator is not scarce, in units of population.
        slope: how much more is left for each unit of predator that lacks.
        fair: population of the predator below which it lacks.
        gain: share that is taken of what is above the escapement; 1 takes all of it.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control.harvest_rule import HarvestRule
        >>> rule = HarvestRule(level=0.33, slope=2.0, fair=0.25, gain=1.0)
        >>> rule(np.array([[0.66, 0.66, 0.5], [0.66, 0.66, 0.085]]))
        array([[0.5, 0.5],
               [0. , 0. ]])
    """

    level: float
    slope: float
    fair: float
    gain: float

    def escapement(self, predator: Array) -> Array:
        """What is left of a species, at populations of the predator."""
        return self.level + self.slope * np.maximum(self.fair - predator, 0)

    def __call__(self, populations: Array) -> Array:
        """Mortality (states, 2) of X and Y at populations (states, 3)."""
        kept = self.escapement(populations[:, 2:])
        share: Array = (self.gain * (1 - kept / np.maximum(populations[:, :2], 1e-12))).clip(0, 1)
        return share

    def to_json(self) -> dict[str, float]:
        """The four numbers, by name."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"M = {self.gain:.2f} (1 - E / S), E = {self.level:.3f} + {self.slope:.2f} max({self.fair:.3f} - Z, 0), "
            "for S = X and S = Y"
        )
