"""Co-activating experts: exact counts of the tokens that one expert shares with each other expert of its group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import UnsupportedError
from ...progress import Progress, job
from ...store.address import shared_key
from ..activations import ROUTING_ROWS, active_pairs
from ..units import LEVEL, document_units

if TYPE_CHECKING:
    from ...store import Run

NEIGHBOURS = 10


def coactive(
    run: Run,
    group: int,
    expert: int,
    n: int = NEIGHBOURS,
    *,
    sample: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Return the experts that co-activate most with an expert, counted over all tokens of the run, or a sample of them.

    ``Run.neighbours`` answers the same question from the expert's top examples alone, quickly; this counts every
    token where the expert is active.

    Experts that share a key co-activate by construction: where (i, j) is active, so is i with every other active key of
    set 2 in that head. The column ``shared`` says which do. Two measures account for chance: the Jaccard index
    ``c / (a + b - c)``, and the pointwise mutual information ``log(c T / (a b))``, which compares with independence
    (Church & Hanks 1990); c counts common tokens, a and b each expert's own, T all tokens.

    In a sample a, b and T stay those of all documents, which the statistics know, and c is estimated: a times the share
    of the expert's tokens in the sample at which the other one is active too. Its 95 % interval takes documents as the
    units, near copies as one (ratio estimator with the finite-population correction; Cochran 1977, section 6.4).

    Args:
        run: an opened run that holds the routing of all its documents, unless only a sample is read.
        group: number of the group.
        expert: flat id ``i * E + j``.
        n: number of experts to return.
        sample: read so many documents for each label, drawn at random, and not all; of each label in proportion to its
            documents. A run that ``Run.sample`` returned is read as it was drawn.
        seed: of the draw.
        progress: show progress bars: of the tokens counted and, in a sample, of those that the intervals are made from.

    Returns:
        One row per expert, by falling Jaccard index, then common tokens. Columns:

        - expert: flat id.
        - together: tokens where both are active; in a sample, of the sample.
        - tokens: tokens where that expert is active, of all.
        - jaccard: Jaccard index of the two sets of tokens.
        - pmi: pointwise mutual information, in nats.
        - shared: ``row`` where the key of set 1 is the same, ``column`` where that of set 2 is, else ``""``.
        - jaccard_low, jaccard_high: in a sample only, the ends of the index's interval; NaN where the expert is active
          in a single document of it.

    Raises:
        NotFoundError: there is no such group or expert.
        BadInputError: ``sample`` is below 1.
        UnsupportedError: the run keeps the routing of some documents only, and all were asked for.

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
        >>> few = coactive(run, 0, expert, n=5, sample=10)
        >>> bool((few["jaccard_low"] <= few["jaccard"]).all())
        True
    """
    run.check_group(group)
    expert = run.check_expert(expert)
    if sample is not None:
        run = run.sample(sample, seed, by_size=True)  # the expert's tokens are of labels in the corpus's own mix
    if run.drawn is None and not run.documents["kept"].all():
        raise UnsupportedError(
            f"{run.path} keeps the routing of some documents only; to count co-activations, export it with "
            "`--keep-routing all`, or estimate them from a sample with `--sample`."
        )
    active = run.activations(group, expert)
    mine = len(active)
    if run.drawn is not None:
        mine = int(run.expert(group, expert)["tokens"])
        active = active[run.documents["kept"].to_numpy()[active["doc"].to_numpy()]]
    rows = active["row"].to_numpy()
    common = np.zeros(run.num_keys**2, np.int64)
    with job("coactive", len(rows), "tokens", progress) as advance:
        for _, others in _active(run, group, rows, advance):
            common += np.bincount(others, minlength=len(common))
    common[expert] = 0
    others = np.flatnonzero(common)
    together, tokens = common[others], run.experts(group)["tokens"].reindex(others).to_numpy()
    expected = together if run.drawn is None else together * (mine / max(len(rows), 1))
    table = pd.DataFrame(
        {
            "expert": others,
            "together": together,
            "tokens": tokens,
            "jaccard": _jaccard(expected, mine, tokens),
            "pmi": np.log(expected * (run.tokens_total / max(mine, 1)) / tokens),
            "shared": shared_key(others, expert, run.num_keys),
        }
    )
    best = table.sort_values(["jaccard", "together", "expert"], ascending=[False, False, True])
    best = best.head(n).reset_index(drop=True)
    if run.drawn is None:
        return best
    with job("intervals", len(rows), "tokens", progress) as advance:
        share, error = _shares(run, group, active, best["expert"].to_numpy(), advance)
    for name, end in (("jaccard_low", share - LEVEL * error), ("jaccard_high", share + LEVEL * error)):
        best[name] = _jaccard(np.clip(end, 0, 1) * mine, mine, best["tokens"].to_numpy())
    return best


def _active(
    run: Run, group: int, rows: NDArray[np.int64], advance: Progress
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places among ``rows`` and the experts active there, each pair once, a batch of rows at a time."""
    for start in range(0, len(rows), ROUTING_ROWS):
        some = rows[start : start + ROUTING_ROWS]
        for experts, at, _ in active_pairs(run.routing(some, group)):
            yield start + at, experts
        advance(len(some))


def _jaccard(common: NDArray[Any], mine: int, tokens: NDArray[Any]) -> NDArray[np.float64]:
    """Jaccard indices from numbers of tokens; common ones cannot exceed an expert's own."""
    common = np.minimum(common, np.minimum(mine, tokens))
    return common / (mine + tokens - common)


def _shares(
    run: Run, group: int, active: pd.DataFrame, experts: NDArray[np.int64], advance: Progress
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each of some experts, the share of an expert's tokens at which it is active too, and its standard error.

    Args:
        run: a sample of a run.
        group: number of the group.
        active: the expert's tokens in the sample, as ``Run.activations`` has them.
        experts: flat ids.
        advance: called with the number of tokens read.
    """
    units = document_units(run.documents)[active["doc"].to_numpy()]
    unit = np.unique(units, return_inverse=True)[1]
    own = np.bincount(unit)  # (units,) of its tokens
    both = np.zeros((len(own), len(experts)))
    order = np.argsort(experts)
    for at, others in _active(run, group, active["row"].to_numpy(), advance):
        wanted = np.isin(others, experts)
        column = order[np.searchsorted(experts, others[wanted], sorter=order)]
        np.add.at(both, (unit[at[wanted]], column), 1)
    share = both.sum(0) / max(own.sum(), 1)
    if run.drawn is None or len(own) < 2:
        return share, np.full(len(experts), np.nan)
    away = both - own[:, None] * share
    spread = (away**2).sum(0) * len(own) / (len(own) - 1)
    unread = 1 - run.drawn.documents / int((run.documents["tokens"] > 0).sum())
    return share, np.sqrt(unread * spread) / own.sum()
