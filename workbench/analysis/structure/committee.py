"""The standing committee: the experts that are among the most active in every label.

The term is from Wang et al. 2026 (arXiv 2601.03425), who call the experts of a mixture-of-experts model that are routed
to in every domain its standing committee.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInputError
from .defaults import TOP

if TYPE_CHECKING:
    from ...store import Run


def standing_committee(run: Run, group: int, top: float = TOP) -> NDArray[np.int64]:
    """Return the experts of a group that are among its most active in every label.

    In each label, the ``top`` fraction of the E * E experts with the most active tokens count, and those that tie with
    the last of them; the committee is their intersection. Wang et al. 2026 (arXiv 2601.03425), who coined the term,
    find a committee of a handful among a few dozen experts.

    Args:
        run: an opened run.
        group: number of the group.
        top: fraction of the group's experts that count as most active in a label, between 0 and 1.

    Returns:
        Flat ids ``i * E + j``, ascending.

    Raises:
        NotFoundError: the run has no such group.
        BadInputError: ``top`` is out of range.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import standing_committee
        >>> run = open_run("runs/demo")
        >>> committee = standing_committee(run, 0, top=0.01)
        >>> everywhere = run.experts(0).loc[committee, [f"tokens:{label}" for label in run.labels]]
        >>> bool((everywhere > 0).all(axis=None))  # they are active in every label
        True
        >>> len(standing_committee(run, 0, top=0.001)) <= len(committee)
        True
    """
    if not 0 < top < 1:
        raise BadInputError(f"top must be a fraction between 0 and 1, got {top}.")
    experts = run.experts(group)
    seats = max(1, round(top * run.num_keys**2))
    member = np.ones(len(experts), bool)
    for label in run.labels:
        tokens = experts[f"tokens:{label}"].to_numpy()
        last = np.partition(tokens, -seats)[-seats] if len(tokens) > seats else 0
        member &= (tokens >= last) & (tokens > 0)
    return experts.index.to_numpy(np.int64)[member]


def committee_row(run: Run, group: int, top: float) -> dict[str, float | int]:
    """Measure the standing committee of a group.

    Returns:
        - group: number of the group.
        - experts: experts in the committee.
        - chance: experts expected if each label's most active experts were drawn independently.
        - mass: the committee's fraction of all routing mass.
        - least: its fraction of a label's mass, in the label where that is smallest.
        - everywhere: experts active at least once in every label.
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
