"""What a policy does without the experts of a scarce predator, and without as many others.

The experts are chosen by their routing in a run, whose episodes have one seed, and measured on episodes of another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...analysis.defaults import MIN_TOKENS, RATIO
from ...analysis.removal.choose import Ids, equally_active, random_experts, removal, specialists
from ...analysis.sums import LEFT_OUT, LabelSums, label_sums
from ...progress import Progress, silent
from .corpus import visits
from .episodes import Policy, play
from .fishery import Array, Fishery
from .outcomes import outcome_row
from .policy import monet_policy
from .regimes import PREDATOR, predator_levels, regime_level
from .tokens import state_ids

if TYPE_CHECKING:
    from cuda_ext.routing import Routing
    from monet_model import MonetForCausalLM

    from ...store import Run

_ROWS = 65_536  # token rows of routing that are read at a time


def action_sums(run: Run) -> list[LabelSums]:
    """What every expert of each group does at the last token of a state, where the action is read, by predator level.

    Args:
        run: of the episodes of a policy, as ``read_policy`` makes it.

    Returns:
        For each group, sums by number into ``regimes.PREDATOR``.
    """
    documents = run.documents
    level = np.repeat([regime_level(label) for label in documents["label"]], documents["tokens"])
    species = run.geometry.width - 1  # a window is the start-of-text token and a state
    within = np.arange(run.tokens_total) - np.repeat(documents["row"].to_numpy(), documents["tokens"])
    number = np.where(within % species == species - 1, level, LEFT_OUT)

    def parts(group: int) -> Iterator[tuple[Routing, NDArray[np.int64]]]:
        for start in range(0, run.tokens_total, _ROWS):
            rows = slice(start, min(start + _ROWS, run.tokens_total))
            yield run.kept_routing(rows, group), number[rows]

    return [label_sums(parts(group), run.num_keys, len(PREDATOR)) for group in run.groups]


def scarce_experts(sums: list[LabelSums], ratio: float = RATIO, min_tokens: int = MIN_TOKENS) -> list[Ids]:
    """The experts of each group that are specialised in a scarce predator, by the paper's rule.

    Args:
        sums: of ``action_sums``.
        ratio: rate where the predator is scarce over the highest rate elsewhere, at least.
        min_tokens: states where an expert must be active.
    """
    return [specialists(of_group, ratio, min_tokens)[PREDATOR.index("scarce")] for of_group in sums]


def measure_removals(
    run: Run,
    model: MonetForCausalLM,
    fishery: Fishery,
    *,
    episodes: int = 1000,
    draws: int = 5,
    seed: int,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Remove the experts of a scarce predator, and in their place as many others, and play.

    Args:
        run: whose routing chooses.
        model: the run's model.
        fishery: the fishery that is played.
        episodes: on which each removal is measured.
        draws: of each control.
        seed: of these episodes and of the draws; another one than that of the run's episodes.
        progress: called with each removal measured.

    Returns:
        One row per removal: ``removed`` (``nothing``, ``scarce``, ``random``: drawn from the active experts, or
        ``equally active``), ``draw``, ``experts`` (how many), the columns of ``outcomes.outcome_row``, and for each
        level of ``PREDATOR``, over the states that the whole policy visits in the episodes: ``change:LEVEL``, the mean
        absolute change of mortality, and ``catch:LEVEL``, what is caught there in one step as a share of what the whole
        policy catches.
    """
    sums = action_sums(run)
    chosen = scarce_experts(sums)
    rng = np.random.default_rng(seed)
    sets: list[tuple[str, int, list[Ids]]] = [("nothing", 0, [ids[:0] for ids in chosen]), ("scarce", 0, chosen)]
    for draw in range(draws):
        sets.append(("random", draw, [random_experts(s, len(ids), rng) for s, ids in zip(sums, chosen, strict=True)]))
        alike = [equally_active(s, ids, rng) for s, ids in zip(sums, chosen, strict=True)]
        sets.append(("equally active", draw, alike))
    whole = monet_policy(model, fishery)
    seen = visits(fishery, whole, episodes, seed).populations
    distinct, counts = _distinct(fishery, seen)
    rows = []
    for removed, draw, experts in sets:
        edit = removal(run.group_layers, experts, run.num_keys)
        policy = monet_policy(model, fishery, lambda edit=edit: model.edit_experts(edit))  # type: ignore[misc]
        outcome = outcome_row(play(fishery, policy, episodes, seed))
        known = {"removed": removed, "draw": draw, "experts": sum(map(len, experts))}
        rows.append(known | outcome | _changes(whole, policy, distinct, counts))
        progress(1, removed)
    return pd.DataFrame(rows)


def _distinct(fishery: Fishery, populations: Array) -> tuple[Array, Array]:
    """One of the populations of each state that the policy tells apart, and how many there are of each."""
    _, at, counts = np.unique(state_ids(fishery, populations), axis=0, return_index=True, return_counts=True)
    return populations[at], counts.astype(np.float64)


def _changes(whole: Policy, edited: Policy, populations: Array, visited: Array) -> dict[str, float]:
    """By level of the predator: how far mortality changes at states, and the catch that is left there."""
    before, after = whole(populations), edited(populations)
    stock, level = populations[:, : before.shape[1]], predator_levels(populations)
    values: dict[str, float] = {}
    for number, name in enumerate(PREDATOR):
        here = level == number
        weight = visited[here, None]
        change = (np.abs(after[here] - before[here]) * weight).mean(1).sum() / max(weight.sum(), 1)
        caught = [(mortality[here] * stock[here] * weight).sum() for mortality in (before, after)]
        values |= {f"change:{name}": float(change), f"catch:{name}": caught[1] / caught[0] if caught[0] else np.nan}
    return values


def selectivity(table: pd.DataFrame) -> float:
    """How many times as much mortality changes where the predator is scarce as where it is plenty, without its experts.

    Args:
        table: of ``measure_removals``.
    """
    row = table.set_index("removed").loc["scarce"]
    return float(row["change:scarce"] / row["change:plenty"]) if row["change:plenty"] else float("inf")
