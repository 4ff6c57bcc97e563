"""A harvest rule of four numbers, read off the experts of a policy.

1. A policy's mortality is its base plus what its experts add, exactly (``contributions``).
2. The predator is called scarce below an edge. Experts are told apart by where they write: those that add at least
   twice as much, in absolute value and per visit, where the predator is scarce as elsewhere; those the other way round;
   and the others, which count to both.
3. The surfaces of the experts of each side, with the base, are fitted on the states of that side alone, by a form of
   ``harvest_rule`` that is linear there. So levels are read off the experts of the one side and slopes off those of the
   other; where both meet is the population of the predator below which it lacks.
4. Form and edge are those whose rule comes nearest to the sum of all experts at the states that the policy visits.

As the fits are linear, every expert's own part in each coefficient is exact: the parts, and that of the base, sum to
it. States where the policy's mortality is cut to 0 or 1 are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import UnsupportedError
from .contributions import Contributions
from .fishery import Array
from .harvest_rule import FORMS, HarvestRule
from .tokens import WIDTH

SIDES = ("scarce", "enough", "both")
DOMINANCE = 2.0  # times that an expert adds more on one side, to belong to it: the rule of specialised experts
EDGES = tuple(round(bins * WIDTH, 3) for bins in range(4, 17))  # below which the predator is called scarce: 0.1 to 0.4
_LEAST = 0.02  # share of the visits that each side has
_FEWEST = 20  # states of a side that a fit takes


@dataclass(frozen=True)
class RuleReading:
    """A rule, and which experts it was read off.

    Attributes:
        rule: the rule.
        edge: population of the predator below which it was called scarce.
        explained: share of the variance of the sum of all experts that the rule explains, at the policy's states.
        experts: one row per expert of a layer that is active at some state, strongest first: ``layer``, ``expert``;
            ``side``, one of ``SIDES``; ``scarce`` and ``enough``, its mean absolute contribution to a mortality over
            the visits of that side; ``mean``, its mean contribution over all visits; ``states``, the share of visits
            where it is active; ``z_low`` and ``z_high``, the 5 % and 95 % quantiles of the predator there; and
            ``part:`` and each coefficient of the rule's form, the share of it that is the expert's own.
    """

    rule: HarvestRule
    edge: float
    explained: float
    experts: pd.DataFrame


@dataclass(frozen=True)
class _Try:
    """A rule as it is read with one form and edge."""

    rule: HarvestRule
    edge: float
    explained: float
    fits: dict[str, _Fit]
    side: pd.Series


def read_rule(parts: Contributions) -> RuleReading:
    """Read a rule off the experts' contributions at the states that a policy visits.

    Args:
        parts: the contributions; each state counts as often as it was visited.

    Raises:
        UnsupportedError: too few states on one side of every edge, or surfaces that no form of rule describes.
    """
    inside = ((parts.mortality > 0) & (parts.mortality < 1)).all(1)
    strength = _Strength.of(parts)
    best: _Try | None = None
    enough = False
    for edge in EDGES:
        scarce = parts.populations[:, 2] < edge
        sides = {"scarce": scarce & inside, "enough": ~scarce & inside}
        if min(parts.weight[states].sum() for states in sides.values()) < _LEAST:
            continue
        if min(states.sum() for states in sides.values()) < _FEWEST:
            continue
        enough = True
        side = strength.sides(edge)
        of_row = side.loc[pd.MultiIndex.from_frame(parts.experts[["layer", "expert"]])].to_numpy()
        own = {name: parts.experts[np.isin(of_row, (name, "both"))] for name in sides}
        surfaces = {name: parts.base + parts.rest + parts.summed(rows) for name, rows in own.items()}
        for form in FORMS.values():
            fits = {
                name: _Fit.of(parts, surfaces[name], own[name], states, form, name) for name, states in sides.items()
            }
            rule = form.of(fits["scarce"].solved, fits["enough"].solved, (fits["scarce"].weight, fits["enough"].weight))
            if rule is None:
                continue
            explained = _explained(rule(parts.populations)[inside], parts.mortality[inside], parts.weight[inside])
            if best is None or explained > best.explained:
                best = _Try(rule, edge, explained, fits, side)
    if not enough:
        raise UnsupportedError(
            "the policy sets a mortality between 0 and 1 at too few states where the predator is scarce, or at too few "
            "where it is not; play more episodes."
        )
    if best is None:
        raise UnsupportedError("the experts' surfaces make no rule that takes less where the predator is scarce.")
    table = strength.table(best.edge, best.side)
    for name, fit in best.fits.items():
        table = table.merge(fit.parts(parts, type(best.rule).coefficients[name]), on=["layer", "expert"], how="left")
    table = table.fillna({name: 0.0 for name in table if name.startswith("part:")})
    return RuleReading(best.rule, best.edge, best.explained, table)


def _explained(got: Array, wanted: Array, weight: Array) -> float:
    """R², the variance taken for each column about its own mean, and rows weighted."""
    mean = np.average(wanted, axis=0, weights=weight)
    left, spread = ((weight[:, None] * (wanted - other) ** 2).sum() for other in (got, mean))
    return float(1 - left / spread)


@dataclass(frozen=True)
class _Strength:
    """How much every expert adds, in absolute value and by the predator.

    Attributes:
        added: rows (layer, expert), columns populations of the predator: mean over species, weighted by visits.
        visited: (populations of the predator,) share of the visits.
        facts: rows (layer, expert): ``mean``, ``states``, ``z_low``, ``z_high``.
    """

    added: pd.DataFrame
    visited: pd.Series
    facts: pd.DataFrame

    @classmethod
    def of(cls, parts: Contributions) -> _Strength:
        rows, weight = parts.experts, parts.weight[parts.experts["state"]]
        predator = parts.populations[:, 2].round(4)
        known = rows[["layer", "expert"]].assign(
            predator=predator[rows["state"]],
            size=rows[parts.actions].abs().mean(axis=1) * weight,
            mean=rows[parts.actions].mean(axis=1) * weight,
            states=weight,
        )
        by_predator = known.groupby(["layer", "expert", "predator"])[["size", "states"]].sum().unstack(fill_value=0.0)
        facts = known.groupby(["layer", "expert"])[["mean", "states"]].sum()
        reached = by_predator["states"].cumsum(axis=1).div(facts["states"], axis=0)
        for name, share in (("z_low", 0.05), ("z_high", 0.95)):
            facts[name] = (reached >= share - 1e-9).idxmax(axis=1)
        return cls(by_predator["size"], pd.Series(parts.weight).groupby(predator).sum(), facts)

    def per_visit(self, edge: float) -> pd.DataFrame:
        """``scarce`` and ``enough``: what each expert adds per visit of the side."""
        below = self.added.columns < edge
        share = self.visited[self.visited.index < edge].sum()
        return pd.DataFrame(
            {
                "scarce": self.added.loc[:, below].sum(axis=1) / share,
                "enough": self.added.loc[:, ~below].sum(axis=1) / (1 - share),
            }
        )

    def sides(self, edge: float) -> pd.Series:
        """The side of each expert."""
        size = self.per_visit(edge)
        more = size["scarce"] >= DOMINANCE * size["enough"]
        less = size["enough"] >= DOMINANCE * size["scarce"]
        return pd.Series(np.select([more, less], SIDES[:2], SIDES[2]), size.index)

    def table(self, edge: float, side: pd.Series) -> pd.DataFrame:
        """The experts, strongest first."""
        order = self.added.sum(axis=1).sort_values(ascending=False, kind="stable").index
        return self.per_visit(edge).join(self.facts).assign(side=side).loc[order].reset_index()


@dataclass(frozen=True)
class _Fit:
    """A least-squares fit of one side: an equation for each harvested species of each state, weighted by visits.

    Attributes:
        state, species: (equations,) what each is of.
        solved: (coefficients,).
        inverse: (coefficients, equations): ``solved`` is its product with the equations' right-hand sides.
        weight: share of the visits.
        rows: of ``Contributions.experts``, whose sum with the base was fitted.
    """

    state: NDArray[np.int64]
    species: NDArray[np.int64]
    solved: Array
    inverse: Array
    weight: float
    rows: pd.DataFrame

    @classmethod
    def of(
        cls,
        parts: Contributions,
        surface: Array,
        rows: pd.DataFrame,
        states: NDArray[np.bool_],
        form: type[HarvestRule],
        side: str,
    ) -> _Fit:
        chosen = np.flatnonzero(states)
        state = np.repeat(chosen, len(parts.actions))
        species = np.tile(np.arange(len(parts.actions)), len(chosen))
        stock, predator = parts.populations[state, species], parts.populations[state, 2]
        matrix = np.stack(form.columns(side, species, stock, predator), 1)
        root = np.sqrt(parts.weight[state])
        inverse = np.asarray(np.linalg.pinv(matrix * root[:, None]) * root, np.float64)
        solved = inverse @ surface[state, species]
        return cls(state, species, solved, inverse, float(parts.weight[chosen].sum()), rows)

    def parts(self, parts: Contributions, coefficients: tuple[str, ...]) -> pd.DataFrame:
        """Each expert's own part in the coefficients, as shares of them: the coefficients of its own surface."""
        of_state = np.zeros((len(self.solved), len(parts.populations), len(parts.actions)))
        of_state[:, self.state, self.species] = self.inverse
        state, given = self.rows["state"].to_numpy(), self.rows[parts.actions].to_numpy()
        own = np.einsum("crs,rs->cr", of_state[:, state], given) / self.solved[:, None]
        names = [f"part:{name}" for name in coefficients]
        table = self.rows[["layer", "expert"]].assign(**dict(zip(names, own, strict=True)))
        return table.groupby(["layer", "expert"], as_index=False)[names].sum()
