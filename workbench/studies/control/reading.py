"""`monet control rule`: a policy's run read through its experts, its rule measured, and what removal does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...analysis.results import write_result
from ...errors import BadInputError, UnsupportedError
from ...progress import Progress, job
from .contributions import contributions, read_parts
from .corpus import visits
from .derive import read_rule
from .episodes import Policy, play
from .figures import EPISODES, MEASURE_SEED
from .fishery import SPECIES, Array, Fishery
from .outcomes import outcome_row
from .policy import load_policy, monet_policy
from .reading_result import CONSTANT, POLICY, RULE, ControlReading
from .removal import measure_removals, selectivity
from .rules import constant_mortality
from .tokens import BINS, WIDTH, populations_of, state_ids

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

STRENGTHS = (0.04, 0.08, 0.12, 0.16, 0.2)  # of the perturbation of parameters, as in the paper
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)  # of the best constant mortality
_STOCK, _PREDATOR = (0.1, 1.2), (0.05, 1.0)  # populations that the lattice covers
_PER_FISHERY = 20  # episodes of each perturbed fishery


def read_control_rule(
    run: Run,
    *,
    episodes: int = EPISODES,
    draws: int = 5,
    strengths: tuple[float, ...] = STRENGTHS,
    seed: int = MEASURE_SEED,
    progress: bool = False,
) -> ControlReading:
    """Read the rule of a policy off its experts, and measure it, the policy and removals on other episodes.

    Args:
        run: of a policy's episodes, as ``read_policy`` makes it.
        episodes: that each figure is measured on.
        draws: of each control of the removal.
        strengths: of perturbed parameters.
        seed: of the episodes that are measured on; it must not be that of the run's.
        progress: show how far it is.

    Returns:
        The reading, which is also kept in ``RUN/analysis`` as ``control.json`` with its tables; ``read_control`` reads
        it.

    Raises:
        NotFoundError: the run's model is no policy.
        BadInputError: no episodes are asked for.
        UnsupportedError: the experts' surfaces have no such rule, or the fishery has one harvested species.
    """
    if episodes < 2 or draws < 1:
        raise BadInputError(f"episodes must be at least 2 and draws 1, got {episodes} and {draws}.")
    model, fishery = load_policy(run.model_path)
    if len(fishery.harvested) < 2:
        raise UnsupportedError(f"the rule is one of two harvested species; fishery model {fishery.model} has one.")
    policy = monet_policy(model, fishery)
    seen = run_populations(run)
    steps = 3 + len(SHARES) + 2 + 2 * draws + len(strengths)  # rule, lattice, policy; nothing and the scarce removed
    with job("control", steps, "steps", progress) as advance:
        parts = contributions(model, fishery, seen)
        reading = read_rule(parts)
        advance(1, "rule")
        lattice, surfaces = _lattice(model, fishery, seen)
        advance(1, "lattice")
        outcomes = _outcomes(fishery, {POLICY: policy, RULE: reading.rule}, episodes, seed, advance)
        removals = measure_removals(run, model, fishery, episodes=episodes, draws=draws, seed=seed, progress=advance)
        perturbed = _perturbed(fishery, {POLICY: policy, RULE: reading.rule}, strengths, episodes, seed, advance)
    result = ControlReading(
        fishery=fishery,
        rule=reading.rule,
        edge=reading.edge,
        explained=reading.explained,
        fit=_fit(fishery, policy, reading.rule, min(episodes, 100), seed),
        completeness=parts.completeness,
        beside=dict(zip(parts.actions, np.abs(parts.rest).max(0).tolist(), strict=True)),
        selectivity=selectivity(removals),
        outcomes=outcomes,
        removals=removals,
        perturbed=perturbed,
        experts=reading.experts,
        lattice=lattice,
        surfaces=surfaces,
    )
    write_result(run, result)
    return result


def run_populations(run: Run) -> Array:
    """The states of a policy's run, in the order of its tokens: (states, 3), the middles of their bins."""
    species = run.geometry.width - 1  # a window is the start-of-text token and a state
    states: Array = populations_of(run.token_column.astype(np.int64).reshape(-1, species))
    return states


def _outcomes(
    fishery: Fishery, policies: dict[str, Policy], episodes: int, seed: int, advance: Progress
) -> pd.DataFrame:
    rows = []
    best = np.array(fishery.base)
    constants = [(CONSTANT, share, constant_mortality(*(share * best))) for share in SHARES]
    for name, share, policy in [*((name, np.nan, one) for name, one in policies.items()), *constants]:
        rows.append({"policy": name, "share": share} | outcome_row(play(fishery, policy, episodes, seed)))
        advance(0 if name == RULE else 1, name)
    return pd.DataFrame(rows)


def _perturbed(
    fishery: Fishery,
    policies: dict[str, Policy],
    strengths: tuple[float, ...],
    episodes: int,
    seed: int,
    advance: Progress,
) -> pd.DataFrame:
    """How policies do where the parameters are others than they were made for: mean over fisheries."""
    rng, rows = np.random.default_rng(seed), []
    played = policies | {CONSTANT: constant_mortality(*fishery.base)}
    count = max(2, episodes // _PER_FISHERY)
    for strength in strengths:
        rewards: dict[str, list[float]] = {name: [] for name in played}
        whole: dict[str, list[float]] = {name: [] for name in played}
        for number in range(count):
            other = fishery.perturbed(strength, seed + number)
            for name, policy in played.items():
                outcome = play(other, policy, _PER_FISHERY, seed + number)
                rewards[name].append(float(outcome.reward.mean()))
                whole[name].append(float(outcome.whole.mean()))
        for name in played:
            values = np.array(rewards[name])
            means = values[rng.integers(count, size=(1000, count))].mean(1)
            low, high = np.quantile(means, (0.025, 0.975))
            known = {"strength": strength, "policy": name, "fisheries": count, "reward": values.mean()}
            rows.append(known | {"reward_low": low, "reward_high": high, "whole": float(np.mean(whole[name]))})
        advance(1, f"perturbed by {strength:.0%}")
    return pd.DataFrame(rows)


def _fit(fishery: Fishery, policy: Policy, rule: Policy, episodes: int, seed: int) -> dict[str, float]:
    """R² of the rule to the policy at the states that the policy visits in other episodes, by action.

    Both are asked at the middles of bins: within a bin the policy cannot differ.
    """
    ids = state_ids(fishery, visits(fishery, policy, episodes, seed).populations)
    states = populations_of(ids[:, 1:])
    wanted, got = policy(states), rule(states)
    explained = 1 - ((wanted - got) ** 2).mean(0) / wanted.var(0)
    return {f"M{SPECIES[column].lower()}": float(explained[at]) for at, column in enumerate(fishery.harvested)}


def _lattice(model: MonetForCausalLM, fishery: Fishery, seen: Array) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables ``lattice`` and ``surfaces`` of a reading."""
    lattices, surfaces, first = [], [], 0
    for column, action, populations in _planes(fishery, seen):
        ids = state_ids(fishery, populations)
        parts = read_parts(model, fishery, ids, np.ones(len(ids)))
        added = parts.experts[["state", "layer", "expert"]].assign(added=parts.experts[action])
        strongest = added.loc[added["added"].abs().groupby(added["state"]).idxmax()].set_index("state")
        table = pd.DataFrame(
            {
                "species": SPECIES[column],
                "stock": populations[:, column],
                "predator": populations[:, 2],
                "mortality": parts.mortality[:, parts.actions.index(action)].clip(0, 1),
                "visits": _visits(seen, populations, column),
            }
        )
        lattices.append(table.join(strongest))
        surfaces.append(added.rename(columns={"state": "point"}).assign(point=added["state"] + first))
        first += len(table)
    kinds = {"point": np.int32, "layer": np.int8, "expert": np.int32, "added": np.float32}
    return pd.concat(lattices, ignore_index=True), pd.concat(surfaces, ignore_index=True).astype(kinds)


def _planes(fishery: Fishery, seen: Array) -> Iterator[tuple[int, str, Array]]:
    """For each harvested species: its column, its action, and the states (points, 3) of its lattice."""
    middles = (np.arange(BINS) + 0.5) * WIDTH
    stock, predator = (middles[(middles > low) & (middles < high)] for low, high in (_STOCK, _PREDATOR))
    for column in fishery.harvested:
        populations = np.tile(np.median(seen, axis=0), (len(stock) * len(predator), 1))
        grid = np.meshgrid(stock, predator, indexing="ij")
        populations[:, column], populations[:, 2] = grid[0].ravel(), grid[1].ravel()
        yield column, f"M{SPECIES[column].lower()}", populations


def _visits(seen: Array, populations: Array, column: int) -> Array:
    """How many of the seen states lie in the bin of stock and predator of each point."""

    def cell(states: Array) -> Array:
        bins = np.floor(states[:, [column, 2]] / WIDTH)
        code: Array = bins[:, 0] * BINS + bins[:, 1]
        return code

    counts = pd.Series(cell(seen)).value_counts()
    found: Array = counts.reindex(cell(populations), fill_value=0).to_numpy()
    return found
