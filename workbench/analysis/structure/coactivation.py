"""Co-activating experts: exact counts of the tokens that one expert shares with each other expert of its group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...errors import UnsupportedError
from ...store.address import shared_key
from ..activations import ROUTING_ROWS, active_pairs

if TYPE_CHECKING:
    from ...store import Run

NEIGHBOURS = 10


def coactive(run: Run, group: int, expert: int, n: int = NEIGHBOURS) -> pd.DataFrame:
    """Return the experts that co-activate most with an expert, counted over all tokens of the run.

    ``Run.neighbours`` answers the same question from the expert's top examples alone, quickly; this counts every
    token where the expert is active.

    Experts that share a key co-activate by construction: where (i, j) is active, so is i with every other active key of
    set 2 in that head. The column ``shared`` says which do. Two measures account for chance: the Jaccard index
    ``c / (a + b - c)``, and the pointwise mutual information ``log(c T / (a b))``, which compares with independence
    (Church & Hanks 1990); c counts common tokens, a and b each expert's own, T all tokens.

    Args:
        run: an opened run that holds the routing of all its documents.
        group: number of the group.
        expert: flat id ``i * E + j``.
        n: number of experts to return.

    Returns:
        One row per expert, by falling Jaccard index, then common tokens. Columns:

        - expert: flat id.
        - together: tokens where both are active.
        - tokens: tokens where that expert is active.
        - jaccard: Jaccard index of the two sets of tokens.
        - pmi: pointwise mutual information, in nats.
        - shared: ``row`` where the key of set 1 is the same, ``column`` where that of set 2 is, else ``""``.

    Raises:
        NotFoundError: there is no such group or expert.
        UnsupportedError: the run keeps the routing of some documents only.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import coactive
        >>> run = open_run("runs/demo")
        >>> expert = int(run.experts(0)["tokens"].idxmax())
        >>> table = coactive(run, 0, expert, n=5)
        >>> table.columns.tolist()
        ['expert', 'together', 'tokens', 'jaccard', 'pmi', 'shared']
        >>> bool((table["together"] <= table["tokens"]).all())
        True
    """
    run.check_group(group)
    expert = run.check_expert(expert)
    if not run.documents["kept"].all():
        raise UnsupportedError(
            f"{run.path} keeps the routing of some documents only; to count co-activations, export it with "
            "`--keep-routing all`."
        )
    rows = run.activations(group, expert)["row"].to_numpy()
    common = np.zeros(run.num_keys**2, np.int64)
    for start in range(0, len(rows), ROUTING_ROWS):
        for others, _, _ in active_pairs(run.routing(rows[start : start + ROUTING_ROWS], group)):
            common += np.bincount(others, minlength=len(common))
    common[expert] = 0
    others = np.flatnonzero(common)
    together, tokens = common[others], run.experts(group)["tokens"].reindex(others).to_numpy()
    table = pd.DataFrame(
        {
            "expert": others,
            "together": together,
            "tokens": tokens,
            "jaccard": together / (tokens + len(rows) - together),
            "pmi": np.log(together * (run.tokens_total / max(len(rows), 1)) / tokens),
            "shared": shared_key(others, expert, run.num_keys),
        }
    )
    best = table.sort_values(["jaccard", "together", "expert"], ascending=[False, False, True])
    return best.head(n).reset_index(drop=True)
