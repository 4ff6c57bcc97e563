"""A harvest rule of four numbers, read off the experts of a policy.

The rule leaves an escapement of each harvested species, more of it where the predator is scarce, and takes a share of
what is above:

    M = gain (1 - E / S), cut to 0 … 1, with E = level + slope max(fair - Z, 0)

How it is read:

1. A policy's mortality is its base plus what its experts add, exactly (``contributions``).
2. Experts are told apart by where they write: those that add at least twice as much, in absolute value and per state,
   where the predator is scarce as elsewhere; those the other way round; and the others, which count to both.
3. The sum of the surfaces of the experts of each side, with the base, is fitted on the states of its side alone:
   ``gain - gain level / S`` where there is enough of the predator, ``gain - gain edge / S + gain slope Z / S`` where it is
   scarce. Both are linear in what is fitted. So ``level`` is read off the experts of the one side, ``slope`` off those
   of the other, and ``gain`` is the mean of both, by visits.
4. ``fair`` is where both meet: the population of the predator at which the escapement ``edge - slope Z`` has come down
   to ``level``.

As the fits are linear, every expert's own part in each coefficient is exact: the parts, and that of the base, sum to it.
States where the policy's mortality is cut to 0 or 1 are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import UnsupportedError
from .contributions import Contributions
from .fishery import Array
from .harvest_rule import HarvestRule
from .regimes import predator_levels

SIDES = ("scarce", "enough", "both")
DOMINANCE = 2.0  # times that an expert adds more on one side, to belong to it: the rule of specialised experts
COEFFICIENTS = {"scarce": ("scarce gain", "edge", "slope"), "enough": ("enough gain", "level")}  # of each fit
_FEWEST = 50  # states of a side that a fit takes


@dataclass(frozen=True)
class RuleReading:
    """A rule, and which experts it was read off.

    Attributes:
        rule: the rule.
        explained: side -> share of the variance of that side's expert surfaces that the rule's form explains.
        experts: one row per expert of a layer that is active at some state, strongest first: ``layer``, ``expert``;
            ``side``, one of ``SIDES``; ``scarce`` and ``enough``, its mean absolute contribution to a mortality over
            the visits of that side; ``mean``, its mean contribution over all visits; ``states``, the share of visits
            where it is active; ``z_low`` and ``z_high``, the 5 % and 95 % quantiles of the predator there; and
            ``part:`` and each coefficient of ``COEFFICIENTS``, the share of it that is the expert's own.
    """

    rule: HarvestRule
    explained: dict[str, float]
    experts: pd.DataFrame


def read_rule(parts: Contributions) -> RuleReading:
    """Read a rule off the experts' contributions at the states that a policy visits.

    Args:
        parts: the contributions; each state counts as often as it was visited.

    Raises:
        UnsupportedError: too few states of a side, or surfaces that no rule of this form describes.
    """
    scarce = predator_levels(parts.populations) == 0
    inside = ((parts.mortality > 0) & (parts.mortality < 1)).all(1)
    table = _sides(parts, scarce)
    rows = parts.experts.merge(table[["layer", "expert", "side"]], on=["layer", "expert"])
    fits = {}
    for side, states in (("scarce", scarce), ("enough", ~scarce)):
        if (states & inside).sum() < _FEWEST:
            raise UnsupportedError(
                f"the policy sets a mortality between 0 and 1 at {(states & inside).sum()} states where the predator is "
                f"{side}; {_FEWEST} are needed to read a rule. Play more episodes."
            )
        fits[side] = _Fit.of(parts, rows[rows["side"] != SIDES[1 - SIDES.index(side)]], states & inside, side)
    scarce_gain, edge, slope = fits["scarce"].solved * (1, -1, 1)
    enough_gain, level = fits["enough"].solved * (1, -1)
    if min(scarce_gain, enough_gain, slope) <= 0:
        raise UnsupportedError(
            f"the experts' surfaces have the gains {scarce_gain:.3g} and {enough_gain:.3g} and the slope {slope:.3g}: no "
            "rule that takes a share of what is above an escapement, which is higher where the predator is scarce."
        )
    shares = np.array([fit.visits for fit in fits.values()])
    gain = float(np.average([scarce_gain, enough_gain], weights=shares))
    rule = HarvestRule(
        level=float(level / enough_gain),
        slope=float(slope / scarce_gain),
        fair=float((edge / scarce_gain - level / enough_gain) / (slope / scarce_gain)),
        gain=gain,
    )
    for side, fit in fits.items():
        table = table.merge(fit.parts(parts, side), on=["layer", "expert"], how="left")
    table = table.fillna({name: 0.0 for name in table if name.startswith("part:")})
    return RuleReading(rule, {side: fit.explained for side, fit in fits.items()}, table)


def _sides(parts: Contributions, scarce: NDArray[np.bool_]) -> pd.DataFrame:
    """The experts, strongest first, each with its side."""
    rows, weight = parts.experts, parts.weight
    visited = weight[rows["state"]]
    size = rows[parts.actions].abs().mean(axis=1) * visited
    known = rows[["layer", "expert"]].assign(
        scarce=size.where(scarce[rows["state"]], 0.0),
        enough=size.where(~scarce[rows["state"]], 0.0),
        mean=rows[parts.actions].mean(axis=1) * visited,
        states=visited,
    )
    table = known.groupby(["layer", "expert"]).sum()
    strength = table["scarce"] + table["enough"]
    table["scarce"] /= weight[scarce].sum()
    table["enough"] /= weight[~scarce].sum()
    more = table["scarce"] >= DOMINANCE * table["enough"]
    less = table["enough"] >= DOMINANCE * table["scarce"]
    table["side"] = np.select([more, less], SIDES[:2], SIDES[2])
    predator = parts.populations[rows["state"], 2]
    low, high = _range(known.assign(predator=predator))
    table["z_low"], table["z_high"] = low, high
    return table.loc[strength.sort_values(ascending=False, kind="stable").index].reset_index()


def _range(known: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The predator's populations below and above which each expert is in 5 % of its visits."""
    ordered = known.sort_values("predator", kind="stable")
    grouped = ordered.groupby(["layer", "expert"])["states"]
    reached = grouped.cumsum() / grouped.transform("sum")
    of = [ordered["layer"], ordered["expert"]]
    return tuple(ordered["predator"].where(reached >= share).groupby(of).min() for share in (0.05, 0.95))  # type: ignore[return-value]


@dataclass(frozen=True)
class _Fit:
    """A least-squares fit of one side: an equation for each harvested species of each state, weighted by visits.

    Attributes:
        state, species: (equations,) what each is of.
        solved: (coefficients,).
        inverse: (coefficients, equations), what ``solved`` is of the equations' right-hand sides.
        visits: of the states.
        explained: share of the variance that the fit explains.
        rows: of ``Contributions.experts``, whose sum with the base was fitted.
    """

    state: NDArray[np.int64]
    species: NDArray[np.int64]
    solved: Array
    inverse: Array
    visits: float
    explained: float
    rows: pd.DataFrame

    @classmethod
    def of(cls, parts: Contributions, rows: pd.DataFrame, states: NDArray[np.bool_], side: str) -> _Fit:
        chosen = np.flatnonzero(states)
        state = np.repeat(chosen, len(parts.actions))
        species = np.tile(np.arange(len(parts.actions)), len(chosen))
        inverse_stock = 1 / parts.populations[state, species]
        columns = [np.ones(len(state)), inverse_stock]
        if side == "scarce":
            columns.append(inverse_stock * parts.populations[state, 2])
        matrix, weight = np.stack(columns, 1), parts.weight[state]
        root = np.sqrt(weight)
        inverse = np.linalg.pinv(matrix * root[:, None]) * root
        wanted = (parts.base + parts.rest + parts.summed(rows))[state, species]
        solved = inverse @ wanted
        left = wanted - matrix @ solved
        spread = np.average((wanted - np.average(wanted, weights=weight)) ** 2, weights=weight)
        explained = 1 - np.average(left**2, weights=weight) / spread
        return cls(state, species, solved, inverse, float(parts.visits[chosen].sum()), float(explained), rows)

    def parts(self, parts: Contributions, side: str) -> pd.DataFrame:
        """Each expert's own part in the coefficients, as shares of them: the coefficients of its own surface."""
        of_state = np.zeros((len(self.solved), len(parts.populations), len(parts.actions)))
        of_state[:, self.state, self.species] = self.inverse
        state, given = self.rows["state"].to_numpy(), self.rows[parts.actions].to_numpy()
        own = np.einsum("crs,rs->cr", of_state[:, state], given) / self.solved[:, None]
        names = [f"part:{name}" for name in COEFFICIENTS[side]]
        table = self.rows[["layer", "expert"]].assign(**dict(zip(names, own, strict=True)))
        return table.groupby(["layer", "expert"], as_index=False)[names].sum()
