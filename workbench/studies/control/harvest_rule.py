"""Harvest rules of four numbers, as which a policy is read: two forms, each a policy to be called with populations.

``FORMS`` is the registry of forms: a new one is a class here and its line there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .fishery import Array


@dataclass(frozen=True)
class HarvestRule(ABC):
    """A rule, and how it is fitted to the surfaces of experts.

    Where the predator is scarce and where there is enough of it, each form is linear in some coefficients.

    Attributes:
        form: its name.
        coefficients: ``scarce`` and ``enough`` -> what is fitted on that side.
        meanings: number -> what it is, and the coefficient that it is made of.
    """

    form: ClassVar[str]
    coefficients: ClassVar[Mapping[str, tuple[str, ...]]]
    meanings: ClassVar[Mapping[str, tuple[str, str]]]

    @abstractmethod
    def __call__(self, populations: Array) -> Array:
        """Mortality (states, 2) of X and Y at populations (states, 3)."""

    @staticmethod
    @abstractmethod
    def columns(side: str, species: NDArray[np.int64], stock: Array, predator: Array) -> list[Array]:
        """What each coefficient of a side is multiplied with, (equations,); species are 0 or 1."""

    @classmethod
    @abstractmethod
    def of(cls, scarce: Array, enough: Array, weights: tuple[float, float]) -> HarvestRule | None:
        """The rule of fitted coefficients, the sides weighing so much; None where they make no rule."""

    def to_json(self) -> dict[str, Any]:
        """The form and the four numbers, by name."""
        return {"form": self.form} | asdict(self)


@dataclass(frozen=True)
class EscapementRule(HarvestRule):
    """``M = gain (1 - E / S)``, cut to 0 … 1, with ``E = level + slope max(fair - Z, 0)``, for S = X and S = Y.

    Attributes:
        level: escapement where there is enough of the predator, in units of population.
        slope: how much more is left for each unit of predator that lacks.
        fair: population of the predator below which it lacks.
        gain: share that is taken of what is above the escapement; 1 takes all of it.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control.harvest_rule import EscapementRule
        >>> rule = EscapementRule(level=0.33, slope=2.0, fair=0.25, gain=1.0)
        >>> rule(np.array([[0.66, 0.66, 0.5], [0.66, 0.66, 0.05]]))
        array([[0.5, 0.5],
               [0. , 0. ]])
    """

    form = "escapement"
    coefficients = {"scarce": ("scarce gain", "edge", "slope"), "enough": ("enough gain", "level")}
    meanings = {
        "level": ("what is left where there is enough of the predator", "level"),
        "slope": ("more that is left for each unit of predator that lacks", "slope"),
        "fair": ("predator below which it lacks: where slope and level meet", "edge"),
        "gain": ("share that is taken of what is above", "scarce gain"),
    }

    level: float
    slope: float
    fair: float
    gain: float

    def __call__(self, populations: Array) -> Array:
        """Mortality (states, 2) of X and Y at populations (states, 3)."""
        kept = self.level + self.slope * np.maximum(self.fair - populations[:, 2:], 0)
        share: Array = (self.gain * (1 - kept / np.maximum(populations[:, :2], 1e-12))).clip(0, 1)
        return share

    @staticmethod
    def columns(side: str, species: NDArray[np.int64], stock: Array, predator: Array) -> list[Array]:
        """``gain - gain level / S``, and where the predator is scarce ``gain - gain edge / S + gain slope Z / S``."""
        columns = [np.ones(len(stock)), -1 / stock]
        return [*columns, predator / stock] if side == "scarce" else columns

    @classmethod
    def of(cls, scarce: Array, enough: Array, weights: tuple[float, float]) -> HarvestRule | None:
        """Level off the one side, slope off the other, gain the mean of both, fair where both meet."""
        gain, edge, slope = scarce
        other_gain, level = enough
        if min(gain, other_gain, slope) <= 0:
            return None
        edge, slope, level = edge / gain, slope / gain, level / other_gain
        mean = float(np.average([gain, other_gain], weights=weights))
        return cls(float(level), float(slope), float((edge - level) / slope), mean)

    def __str__(self) -> str:
        return (
            f"M = {self.gain:.2f} (1 - E / S), E = {self.level:.3f} + {self.slope:.2f} max({self.fair:.3f} - Z, 0), "
            "for S = X and S = Y"
        )


@dataclass(frozen=True)
class MortalityRule(HarvestRule):
    """``M = level - slope max(fair - Z, 0)``, cut to 0 … 1, with a level for each of X and Y.

    Attributes:
        level_x, level_y: mortality where there is enough of the predator.
        slope: how much less is taken for each unit of predator that lacks.
        fair: population of the predator below which it lacks.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control.harvest_rule import MortalityRule
        >>> MortalityRule(level_x=0.3, level_y=0.25, slope=2.0, fair=0.15)(np.array([[0.6, 0.6, 0.1]])).round(3)
        array([[0.2 , 0.15]])
    """

    form = "mortality"
    coefficients = {"scarce": ("edge X", "edge Y", "slope"), "enough": ("level X", "level Y")}
    meanings = {
        "level_x": ("share of X taken where there is enough of the predator", "level X"),
        "level_y": ("share of Y taken where there is enough of the predator", "level Y"),
        "slope": ("less that is taken for each unit of predator that lacks", "slope"),
        "fair": ("predator below which it lacks: where slope and levels meet", "edge X"),
    }

    level_x: float
    level_y: float
    slope: float
    fair: float

    def __call__(self, populations: Array) -> Array:
        """Mortality (states, 2) of X and Y at populations (states, 3)."""
        lacking = np.maximum(self.fair - populations[:, 2:], 0)
        share: Array = (np.array([self.level_x, self.level_y]) - self.slope * lacking).clip(0, 1)
        return share

    @staticmethod
    def columns(side: str, species: NDArray[np.int64], stock: Array, predator: Array) -> list[Array]:
        """A level for each species, and where the predator is scarce an edge for each, plus ``slope Z``."""
        columns = [(species == number).astype(np.float64) for number in (0, 1)]
        return [*columns, predator] if side == "scarce" else columns

    @classmethod
    def of(cls, scarce: Array, enough: Array, weights: tuple[float, float]) -> HarvestRule | None:
        """Levels off the one side, slope off the other, fair where both meet, in the mean of the species."""
        slope = scarce[2]
        fair = float(np.mean(enough - scarce[:2]) / slope) if slope > 0 else 0.0
        return cls(float(enough[0]), float(enough[1]), float(slope), fair) if fair > 0 else None

    def __str__(self) -> str:
        return (
            f"M = level - {self.slope:.2f} max({self.fair:.3f} - Z, 0), level = {self.level_x:.3f} of X and "
            f"{self.level_y:.3f} of Y"
        )


FORMS: dict[str, type[HarvestRule]] = {rule.form: rule for rule in (EscapementRule, MortalityRule)}


def rule_of(stored: Mapping[str, Any]) -> HarvestRule:
    """The rule that ``HarvestRule.to_json`` describes; KeyError or TypeError where it describes none."""
    numbers = dict(stored)
    return FORMS[numbers.pop("form")](**numbers)
