"""Rules tuned by search, to stand beside a learned policy: what is chosen on some episodes is measured on others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BadInputError
from ...extras import require
from ...progress import Progress, silent
from .episodes import Policy, Rule, play_each
from .figures import CHOOSE_SEED, EPISODES, Figures, measure
from .fishery import Array, Fishery
from .rules import constant_escapement, constant_mortality, escapement_of, predator_escapement

GRID = 51  # values of each number of a constant rule, as in the paper
MORTALITIES, ESCAPEMENTS = 0.5, 1.0  # the largest value on their grids
FRACTIONS = (0.8, 0.9, 0.95)  # of the best constant mortality, which are measured too
_CHOICE_EPISODES = 100  # for each point of a grid
_AT_ONCE = 64  # points of a grid that are played side by side
_SEARCH_EPISODES = 400  # for each rule that CMA tries
ROUNDS = 40  # generations of the search for the rule with the predator
_FIRST_GUESS, _FIRST_SPREAD = {"level": 0.4, "slope": 1.0, "fair": 0.3}, 0.2


@dataclass(frozen=True)
class TunedRule:
    """A rule, tuned, and how it does on episodes that had no part in the tuning.

    Attributes:
        name: of the kind of rule.
        numbers: its numbers by name.
        figures: how it does.
    """

    name: str
    numbers: dict[str, float]
    figures: Figures

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name."""
        return {"name": self.name, "numbers": self.numbers, "figures": self.figures.to_dict()}


def _fixed(_populations: Array, settings: Array) -> Array:
    return settings


def tune_constant(
    fishery: Fishery, rule: Rule, largest: float, grid: int = GRID, progress: Progress = silent
) -> tuple[float, ...]:
    """The numbers of a constant rule, one for each harvested species, with the highest mean reward on a grid.

    Args:
        fishery: the fishery.
        rule: the mortality at populations under settings, as ``play_each`` takes it.
        largest: the highest value of a number; the lowest is 0.
        grid: how many values.
        progress: called with the points done.
    """
    values = np.linspace(0, largest, grid)
    points = np.stack(np.meshgrid(*[values] * len(fishery.harvested), indexing="ij"), -1).reshape(
        grid ** len(fishery.harvested), -1
    )
    rewards: list[Array] = []
    for start in range(0, len(points), _AT_ONCE):
        part = points[start : start + _AT_ONCE]
        rewards.append(play_each(fishery, rule, part, _CHOICE_EPISODES, CHOOSE_SEED).reward.mean(1))
        progress(len(part))
    return tuple(points[np.concatenate(rewards).argmax()].tolist())


def tune_predator_rule(
    fishery: Fishery, seed: int = 0, rounds: int = ROUNDS, progress: Progress = silent
) -> dict[str, float]:
    """The numbers of ``predator_escapement`` that CMA-ES finds (Hansen 2016, arXiv 1604.00772).

    Args:
        fishery: a fishery with a predator.
        seed: of the search.
        rounds: generations.
        progress: called with each round done.

    Raises:
        BadInputError: the fishery has no predator.
        UnsupportedError: the package cma is not installed.
    """
    if 2 not in fishery.observed:
        raise BadInputError(f"Model {fishery.model} has no predator that a rule could look at.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of plots, which it cannot draw without matplotlib
        cma = require("cma", "control", "CMA-ES")
    names = [f"level_{'xy'[column]}" for column in fishery.harvested] + ["slope", "fair"]
    begin = [_FIRST_GUESS[name.partition("_")[0]] for name in names]
    search = cma.CMAEvolutionStrategy(begin, _FIRST_SPREAD, {"seed": seed + 1, "verbose": -9, "bounds": [0, 5]})

    def rule(populations: Array, settings: Array) -> Array:
        levels, slope, fair = settings[:, :-2], settings[:, -2:-1], settings[:, -1:]
        return escapement_of(populations, levels + slope * np.maximum(fair - populations[:, 2:], 0))

    for number in range(rounds):
        tried = np.array(search.ask())
        # Fresh episodes in every round, the same for all rules of it: no rule wins by the luck of a few episodes.
        outcome = play_each(fishery, rule, tried, _SEARCH_EPISODES, CHOOSE_SEED + 1 + number)
        search.tell(list(tried), list(-outcome.reward.mean(1)))
        progress(1, f"reward {outcome.reward.mean(1).max():.1f}")
    return dict(zip(names, map(float, search.result.xfavorite), strict=True))


def _predator_policy(numbers: dict[str, float]) -> Policy:
    levels = [value for name, value in numbers.items() if name.startswith("level")]
    return predator_escapement(*levels, slope=numbers["slope"], fair=numbers["fair"])


def tuned_rules(
    fishery: Fishery,
    *,
    grid: int = GRID,
    rounds: int = ROUNDS,
    episodes: int = EPISODES,
    seed: int = 0,
    progress: Progress = silent,
) -> list[TunedRule]:
    """The best constant mortality and shares of it, the best constant escapement, and a tuned rule with the predator.

    Args:
        fishery: the fishery; without a predator, as in Model 1, there is no rule with one.
        grid: values of each number of a constant rule.
        rounds: generations of the search for the rule with the predator.
        episodes: fresh ones, for the figures.
        seed: of that search.
        progress: called with the points of grids and rounds of the search done, ``units`` in all.

    Raises:
        UnsupportedError: the package cma is not installed.
    """
    best = tune_constant(fishery, _fixed, MORTALITIES, grid, progress)
    species = ["xy"[column] for column in fishery.harvested]
    found: list[tuple[str, Sequence[float], Callable[..., Policy]]] = [("constant mortality", best, constant_mortality)]
    for share in FRACTIONS:
        found.append((f"{share:.0%} of that mortality", [share * value for value in best], constant_mortality))
    kept = tune_constant(fishery, escapement_of, ESCAPEMENTS, grid, progress)
    found.append(("constant escapement", kept, constant_escapement))
    table = []
    for name, numbers, make in found:
        figures = measure(fishery, make(*numbers), episodes)
        table.append(TunedRule(name, dict(zip(species, map(float, numbers), strict=True)), figures))
    if 2 in fishery.observed:
        tuned = tune_predator_rule(fishery, seed, rounds, progress)
        figures = measure(fishery, _predator_policy(tuned), episodes)
        table.append(TunedRule("escapement by predator", tuned, figures))
    return table


def units(fishery: Fishery, grid: int = GRID, rounds: int = ROUNDS) -> int:
    """How many units of progress ``tuned_rules`` counts."""
    return 2 * grid ** len(fishery.harvested) + rounds * (2 in fishery.observed)
