"""The standing committee: experts that are among the most active whatever a text is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import WorkbenchError

if TYPE_CHECKING:
    from ...store import Run

TOP = 0.01


def standing_committee(run: Run, group: int, top: float = TOP) -> NDArray[np.int64]:
    """The experts that are among the part ``top`` of a group that is active at most tokens, in every label.

    Wang et al. 2026 (arXiv 2601.03425) call the experts that are routed to in every domain a standing committee; theirs
    are a handful of a few dozen. Of a label's experts, as many as ``top`` of E * E count, and those that tie with the
    last of them.

    Args:
        run, group: where the experts are.
        top: part of all experts of the group.

    Returns:
        Flat ids, ascending.

    Raises:
        WorkbenchError: ``top`` is out of range.
    """
    if not 0 < top < 1:
        raise WorkbenchError(f"top must be a part between 0 and 1, got {top}.")
    experts = run.experts(group)
    seats = max(1, round(top * run.num_keys**2))
    member = np.ones(len(experts), bool)
    for label in run.labels:
        tokens = experts[f"tokens:{label}"].to_numpy()
        last = np.partition(tokens, -seats)[-seats] if len(tokens) > seats else 0
        member &= (tokens >= last) & (tokens > 0)
    return experts.index.to_numpy(np.int64)[member]


def committee_row(run: Run, group: int, top: float) -> dict[str, float | int]:
    """The committee of a group in numbers.

    Returns:
        group; experts in it; chance (how many there would be, were the labels' most active experts drawn apart from one
        another); mass (their part of all routing mass) and least (their part of a label's mass, where that is least);
        everywhere (experts active in every label at all).
    """
    experts = run.experts(group)
    members = standing_committee(run, group, top)
    chance = run.num_keys**2 * top ** len(run.labels)
    mass = experts[["mass", *(f"mass:{label}" for label in run.labels)]]
    share = mass.loc[members].sum() / mass.sum()
    everywhere = int((experts[[f"tokens:{label}" for label in run.labels]] > 0).all(axis=1).sum())
    return {
        "group": group,
        "experts": len(members),
        "chance": chance,
        "mass": float(share["mass"]),
        "least": float(share.drop("mass").min()),
        "everywhere": everywhere,
    }
