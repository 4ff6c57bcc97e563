"""The fishery of arXiv 2308.13654: three species, two of them harvested, and the one place of its dynamics.

Where the paper's text and its authors' code (boettiger-lab/approx-model-or-approx-soln) disagree, this follows what the
figures that they released were made with: noise of standard deviation 0.1, not of variance 0.05, which would leave
1 % of episodes whole where they had 75 %. For Model 1 neither the text's parameters nor the file's give the released
figures; the text's are taken. In the code's training an episode ended by a collapse alone; here it has 200 steps
everywhere, as in its evaluation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInputError

Array = NDArray[np.float64]

STEPS = 200  # of an episode
COLLAPSED = 0.05  # a population at or below which an episode ends
UNIT = 4.0  # an observation is a population divided by it
SPECIES = ("X", "Y", "Z")
_START_SPREAD = 0.02  # standard deviation of the initial populations
_DRIFT_STEPS = 100  # in which Model 4's growth falls to half


@dataclass(frozen=True)
class Fishery:
    """One of the paper's four models with its parameters; populations are (episodes, 3) arrays of X, Y and Z.

    A step harvests, then lets what is left grow; Z preys on X and Y:

        X <- X (1 - Mx), Y <- Y (1 - My), reward Mx X + My Y with X and Y before the harvest
        dX = rX X (1 - X / KX) - b Z X^2 / (c^2 + X^2) - a X Y + s X n1
        dY = rY Y (1 - Y / KY) - D b Z Y^2 / (c^2 + Y^2) - a X Y + s Y n2
        dZ = Z (f (X + D Y) - d) + s Z n3, with independent standard normal n1, n2, n3

    Attributes:
        model: 1: X alone, Z a constant 1; 2: X is harvested; 3: X and Y are; 4: as 3, and rX falls to half in 100
            steps, which nobody observes.
        growth_x, growth_y: rX, rY, per step.
        capacity_x, capacity_y: KX, KY, in units of population, as all populations are.
        predation: b, most that a unit of predator eats in a step.
        half_predation: c, population at which half of that is eaten.
        preference: D, predation on Y beside that on X.
        competition: a, of X and Y.
        conversion: f, growth of the predator per unit of prey.
        predator_loss: d, share of the predator that dies in a step.
        noise: s, standard deviation of a step's noise, as a share of the population.
    """

    model: int = 3
    growth_x: float = 1.0
    capacity_x: float = 1.0
    growth_y: float = 1.0
    capacity_y: float = 1.0
    predation: float = 0.3
    half_predation: float = 0.3
    preference: float = 1.1
    competition: float = 0.1
    conversion: float = 0.1
    predator_loss: float = 0.1
    noise: float = 0.1

    @classmethod
    def of(cls, model: int = 3, **parameters: float) -> Fishery:
        """A model of the paper, with some parameters of one's own.

        Raises:
            BadInputError: there is no such model or parameter, or a value that is no number of 0 or more.

        Examples:
            >>> from workbench.studies.control import Fishery
            >>> float(Fishery.of(4, noise=0.05).growth_at(150))
            0.5
        """
        if model not in (1, 2, 3, 4):
            raise BadInputError(f"there is no fishery model {model}; the models are 1, 2, 3 and 4.")
        known = [field.name for field in fields(cls) if field.name != "model"]
        for name, value in parameters.items():
            if name not in known:
                raise BadInputError(f"a fishery has no parameter {name!r}; it has {', '.join(known)}.")
            if not np.isfinite(value) or value < 0:
                raise BadInputError(f"the fishery's {name} must be a number of 0 or more, got {value}.")
        own = {"predation": 0.25, "half_predation": 0.1} if model == 1 else {}
        return cls(model, **(own | parameters))

    def to_dict(self) -> dict[str, Any]:
        """The model and its parameters, as ``of`` takes them."""
        return asdict(self)

    def perturbed(self, strength: float, seed: int) -> Fishery:
        """A fishery whose parameters are each scaled by 1 + ``strength`` n, n standard normal, as in the paper's code.

        A factor below 0 counts as 0, which takes a strength far above the paper's 0.2.
        """
        generator = np.random.default_rng(seed)
        names = [field.name for field in fields(self) if field.name != "model"]
        factors = np.maximum(1 + strength * generator.standard_normal(len(names)), 0)
        scaled: dict[str, Any] = {
            name: getattr(self, name) * by for name, by in zip(names, factors.tolist(), strict=True)
        }
        return replace(self, **scaled)

    @property
    def observed(self) -> tuple[int, ...]:
        """Columns of a state that the model has: all three, or in Model 1 that of X."""
        return (0,) if self.model == 1 else (0, 1, 2)

    @property
    def harvested(self) -> tuple[int, ...]:
        """Columns of a state that are harvested: X, and from Model 3 on Y."""
        return (0,) if self.model <= 2 else (0, 1)

    @property
    def base(self) -> tuple[float, ...]:
        """The constant mortality of each harvested species that a policy starts from.

        For Models 3 and 4 the best one of the paper's authors, for 1 and 2 that of our grid (``tuning.tune_constant``).
        """
        return {1: (0.0,), 2: (0.30,), 3: (0.30, 0.25), 4: (0.13, 0.27)}[self.model]

    @property
    def start(self) -> Array:
        """(3,) populations that episodes start around."""
        return np.array([0.7, 0.0, 1.0] if self.model == 1 else [0.5, 0.5, 0.7])

    def starts(self, noise: Array) -> Array:
        """Initial populations (episodes, 3) for standard normal ``noise`` of that shape."""
        populations = np.tile(self.start, (len(noise), 1))
        populations[:, self.observed] += _START_SPREAD * noise[:, self.observed]
        return populations

    def growth_at(self, time: NDArray[np.int64] | int) -> Array:
        """rX after ``time`` steps of an episode."""
        if self.model != 4:
            return np.asarray(self.growth_x)
        return self.growth_x * (1 - np.minimum(time, _DRIFT_STEPS) / (2 * _DRIFT_STEPS))

    def step(
        self, populations: Array, mortality: Array, time: NDArray[np.int64] | int, noise: Array
    ) -> tuple[Array, Array]:
        """Harvest and growth of a step.

        Args:
            populations: (episodes, 3).
            mortality: (episodes, harvested species), the share of each that is taken; cut to 0 … 1.
            time: steps that each episode has done, (episodes,), or one number for all.
            noise: (episodes, 3), standard normal.

        Returns:
            Populations after the step, (episodes, 3), none below 0, and the harvest, (episodes, harvested species).
        """
        x, y, z = populations.T
        share = mortality.clip(0, 1)
        harvest = populations[:, self.harvested] * share
        x = x - harvest[:, 0]
        if len(self.harvested) > 1:
            y = y - harvest[:, 1]
        x2, y2, c2 = x * x, y * y, self.half_predation**2
        eaten, met = self.predation * z, self.competition * x * y
        grown = np.empty_like(populations)
        grown[:, 0] = x + self.growth_at(time) * x * (1 - x / self.capacity_x) - eaten * x2 / (c2 + x2) - met
        grown[:, 0] += self.noise * x * noise[:, 0]
        if self.model == 1:
            grown[:, 1:] = populations[:, 1:]
        else:
            grown[:, 1] = y + self.growth_y * y * (1 - y / self.capacity_y) - met
            grown[:, 1] += self.noise * y * noise[:, 1] - self.preference * eaten * y2 / (c2 + y2)
            grown[:, 2] = z + z * (self.conversion * (x + self.preference * y) - self.predator_loss)
            grown[:, 2] += self.noise * z * noise[:, 2]
        return np.maximum(grown, 0, out=grown), harvest

    def collapsed(self, populations: Array) -> NDArray[np.bool_]:
        """(episodes,) whether a population of each has collapsed."""
        return np.asarray((populations[:, self.observed] <= COLLAPSED).any(1))


def penalty(time: NDArray[np.int64] | int) -> Array:
    """What a collapse in the step after ``time`` steps adds to the reward: 100 / (time + 1), negative."""
    return -100.0 / (np.asarray(time) + 1)
