"""Which experts fire together: exact counts of one expert with all others of its group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import WorkbenchError
from ..activations import ROUTING_ROWS, active_pairs

if TYPE_CHECKING:
    from ...store import Run


def coactive(run: Run, group: int, expert: int, n: int) -> pd.DataFrame:
    """The experts most often active at an expert's tokens, exactly, from the stored routing.

    Experts that share a key are active together by construction: where i is active with j, it is with every other
    active key of set 2. So the relation is named, and chance is taken into account twice: the Jaccard index
    ``c / (a + b - c)`` is high for experts that are hardly ever active alone, and the pointwise mutual information
    ``log(c T / (a b))`` compares with independence (Church & Hanks 1990); c counts common tokens, a and b each one's
    own, T all.

    Args:
        run, group, expert: whose company is looked for.
        n: how many are returned, by falling Jaccard index, then common tokens.

    Returns:
        Columns expert, together, tokens (of that expert), jaccard, pmi (nats) and shared: ``row`` where the key of set
        1 is the same, ``column`` where that of set 2 is, or ``""``.

    Raises:
        WorkbenchError: no such group or expert, or a run that keeps the routing of some documents only.
    """
    if not run.documents["kept"].all():
        raise WorkbenchError(f"{run.path} keeps the routing of some documents only; export it whole to count company.")
    rows = run.activations(group, expert)["row"].to_numpy()
    together = np.zeros(run.num_keys**2, np.int64)
    for start in range(0, len(rows), ROUTING_ROWS):
        for others, _, _ in active_pairs(run.routing(rows[start : start + ROUTING_ROWS], group)):
            together += np.bincount(others, minlength=len(together))
    together[expert] = 0
    found = np.flatnonzero(together)
    common, own = together[found], run.experts(group)["tokens"].reindex(found).to_numpy()
    table = pd.DataFrame(
        {
            "expert": found,
            "together": common,
            "tokens": own,
            "jaccard": common / (own + len(rows) - common),
            "pmi": np.log(common * (run.tokens_total / max(len(rows), 1)) / own),
            "shared": shared_key(found, expert, run.num_keys),
        }
    )
    best = table.sort_values(["jaccard", "together", "expert"], ascending=[False, False, True])
    return best.head(n).reset_index(drop=True)


def shared_key(experts: NDArray[np.int64], expert: int, keys: int) -> NDArray[np.object_]:
    """The key each expert shares with another: ``row`` (set 1), ``column`` (set 2) or ``""``."""
    i, j = divmod(expert, keys)
    return np.select([experts // keys == i, experts % keys == j], ["row", "column"], "").astype(object)
