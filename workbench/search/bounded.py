"""The experts that fire best at many token rows, from the inverted index, looking at few of them.

Expert (i, j) is active at a token only where both of its keys are. So how often each key is active at the tokens
searched for, which `monet analyze` has counted, bounds how often an expert is, and hence its F1. Experts are looked at
by falling bound, until the next bound is below the F1 of as many experts as are asked for: what is left out cannot be
among them, and what is returned is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cuda_ext.reference.accumulate import MASS_UNIT

from ..analysis.token_keys import most_active

if TYPE_CHECKING:
    from ..store import Run

AT_ONCE = 64  # experts looked at together
GIVE_UP = 16  # times as many experts as are asked for: then bounds say too little, and reading all routing is faster
Entries = tuple[NDArray[np.int64], NDArray[np.float32]]


def f1_score(tokens: NDArray[np.int64], rows: int, everywhere: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 of experts active at ``tokens`` of ``rows`` token rows and at ``everywhere`` token rows of the run."""
    f1: NDArray[np.float64] = 2 * tokens / (rows + everywhere)
    return f1


def bounded_experts(run: Run, rows: NDArray[np.int64], groups: Sequence[int], limit: int) -> pd.DataFrame | None:
    """Return the experts of highest F1 at some token rows, and maybe others, in no order.

    Rows of a few token ids have close bounds; of rows of many, every expert may be active at any.

    Args:
        run: an opened run that holds all routing, analysed.
        rows: (n,) token rows, ascending, each once.
        groups: numbers of groups.
        limit: number of experts that are sure to be among those returned.

    Returns:
        Columns group, expert, tokens, everywhere, f1, sum and max, as ``experts_firing_on`` has them; ``everywhere`` is
        the number of tokens at which the expert is active. None where too many experts would have to be looked at.
    """
    left = pd.concat([_bounds(run, rows, group) for group in groups], ignore_index=True)
    left = left.sort_values("bound", ascending=False, kind="stable", ignore_index=True)
    known: dict[int, dict[int, Entries]] = {group: {} for group in groups}
    found: list[pd.DataFrame] = []
    best = np.zeros(0)
    for first in range(0, len(left), AT_ONCE):
        chosen = left.iloc[first : first + AT_ONCE]
        if len(best) >= limit and best[limit - 1] > chosen["bound"].iloc[0]:
            break
        if first >= GIVE_UP * max(limit, AT_ONCE):
            return None
        looked_at = [
            _counted(run, rows, int(group), part, known[int(group)]) for group, part in chosen.groupby("group")
        ]
        found += looked_at
        best = -np.sort(-np.concatenate([best, *(table["f1"] for table in looked_at)]))[:limit]
    return pd.concat(found, ignore_index=True)


def _bounds(run: Run, rows: NDArray[np.int64], group: int) -> pd.DataFrame:
    """Experts of a group that may be active at the rows: the number of tokens of each, and a bound of its F1."""
    active = most_active(run, group, np.unique(run.token_column[rows]))
    everywhere = run.experts(group, ("tokens",))["tokens"]
    expert = everywhere.index.to_numpy(np.int64)
    i, j = np.divmod(expert, run.num_keys)
    most = np.minimum(np.minimum(active[0, i], active[1, j]), np.minimum(everywhere.to_numpy(), len(rows)))
    bound = f1_score(most, len(rows), everywhere.to_numpy())
    table = pd.DataFrame({"group": group, "expert": expert, "everywhere": everywhere.to_numpy(), "bound": bound})
    return table[table["bound"] > 0]


def _counted(
    run: Run, rows: NDArray[np.int64], group: int, chosen: pd.DataFrame, known: dict[int, Entries]
) -> pd.DataFrame:
    """What some experts of a group do at the rows; ``known`` holds the keys already read, and those read now."""
    i, j = np.divmod(chosen["expert"].to_numpy(), run.num_keys)
    needed = np.setdiff1d(np.concatenate([i, j + run.num_keys]), list(known))
    if len(needed):
        known.update(zip(needed.tolist(), run.entries_at(rows, group, needed), strict=True))
    tokens, sums, highest = np.zeros(len(chosen), np.int64), np.zeros(len(chosen)), np.zeros(len(chosen), np.float32)
    second = np.zeros(len(rows) * run.heads, np.float32)
    for at, (key1, key2) in enumerate(zip(i.tolist(), (j + run.num_keys).tolist(), strict=True)):
        (place1, prob1), (place2, prob2) = known[key1], known[key2]
        second[place2] = prob2
        product = prob1 * second[place1]
        second[place2] = 0
        both = np.flatnonzero(product)
        starts = np.flatnonzero(np.diff(place1[both] // run.heads, prepend=-1))
        if len(starts):
            scores = np.add.reduceat(product[both], starts)
            tokens[at], highest[at] = len(scores), scores.max()
            sums[at] = np.floor(scores.astype(np.float64) * MASS_UNIT + 0.5).astype(np.int64).sum() / MASS_UNIT
    table = chosen[["group", "expert", "everywhere"]].assign(
        tokens=tokens, f1=f1_score(tokens, len(rows), chosen["everywhere"].to_numpy()), sum=sums, max=highest
    )
    return table[table["tokens"] > 0]
