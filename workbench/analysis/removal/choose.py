"""Which experts to ablate: those that prefer a label, in some order, and controls; from sums over the choosing part.

``ORDERS`` is the registry of orders: a new one is one function here and one line there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInputError, NotAnalysedError, shell_command
from ..specialisation.analyze_result import read_analysis
from ..specialisation.shares import label_shares, specialised_label
from ..sums import LabelSums, smoothing

if TYPE_CHECKING:
    from torch import Tensor

    from ...store import Run

Ids = NDArray[np.int64]  # flat ids of experts of one group, ascending
Scores = NDArray[np.float64]
MASS_STRATA = 256  # of the activity-matched control


def specialists(sums: LabelSums, ratio: float, min_tokens: int) -> list[Ids]:
    """The experts specialised in each label by ``specialised_label``."""
    shares = label_shares(sums.mass, sums.label_tokens)
    chosen = specialised_label(shares, sums.tokens.sum(0), ratio, min_tokens)
    return [np.flatnonzero(chosen == label) for label in range(len(shares))]


def ablated_experts(
    run: Run, sums: Sequence[LabelSums], ratio: float, min_tokens: int, confirmed: bool
) -> list[list[Ids]]:
    """The experts of each group that the rule assigns to each label: first by group, then by label.

    Args:
        run: the run.
        sums: of the choosing part, one for each group.
        ratio, min_tokens: as for ``specialised_label``.
        confirmed: only those that `monet analyze` has confirmed.

    Raises:
        NotAnalysedError: confirmed experts are asked for, and the run's have not been tested.
    """
    chosen = [specialists(of_group, ratio, min_tokens) for of_group in sums]
    if not confirmed:
        return chosen
    sure = confirmed_experts(run)
    return [
        [np.intersect1d(ids, of_group) for ids in by_label] for by_label, of_group in zip(chosen, sure, strict=True)
    ]


def preference(sums: LabelSums, label: int) -> Scores:
    """(E * E,) an expert's rate for a label over its mean rate for the others, both smoothed.

    Smoothing (``smoothing``) keeps experts active at few tokens from extreme preferences.
    1 for an expert that was never active.
    """
    rate = sums.mass / sums.label_tokens[:, None]
    active = sums.tokens.sum(0)
    extra = smoothing(sums.mass, sums.tokens, sums.label_tokens)
    others = (rate.sum(0) - rate[label]) / (len(rate) - 1)
    return np.divide(rate[label] + extra, others + extra, out=np.ones(len(active)), where=active > 0)


def rule_ratio(sums: LabelSums, label: int) -> Scores:
    """(E * E,) an expert's rate for a label over its highest rate for another; infinite for an expert of one label.

    At 2 or more, an expert passes the paper's rule (5.1), as in ``specialists``. 0 for one that was never active.
    """
    rate = sums.mass / sums.label_tokens[:, None]
    second = np.delete(rate, label, 0).max(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(rate[label] > 0, rate[label] / second, 0.0)


ORDERS: dict[str, Callable[[LabelSums, int], Scores]] = {"preference": preference, "ratio": rule_ratio}


def order_scores(sums: LabelSums, order: str, min_tokens: int) -> Scores:
    """(labels, E * E) scores by which experts are ablated, highest first; -inf for those active at too few tokens.

    Args:
        sums: of the choosing part.
        order: a key of ``ORDERS``.
        min_tokens: active tokens that an expert needs to be ablated.

    Raises:
        BadInputError: an unknown order.
    """
    if order not in ORDERS:
        raise BadInputError(f"there is no order {order!r}; there are {', '.join(ORDERS)}.")
    scores = np.stack([ORDERS[order](sums, label) for label in range(len(sums.mass))])
    return np.where(sums.tokens.sum(0) >= min_tokens, scores, -np.inf)


def confirmed_experts(run: Run) -> list[Ids]:
    """The experts of each group that `monet analyze` has confirmed, in any label.

    They were tested on all documents, so a choice among them is not blind to those that losses are measured on.

    Raises:
        NotAnalysedError: the run has not been analysed, or nothing was tested.
    """
    ids = []
    for group in run.groups:
        table = read_analysis(run, group)
        if "confirmed" not in table:
            raise NotAnalysedError(
                f"no expert of {run.path} was tested against chance; run `{shell_command('analyze', run.path)}`."
            )
        ids.append(table.index[table["confirmed"].astype(bool)].to_numpy(np.int64))
    return ids


def random_experts(sums: LabelSums, count: int, rng: np.random.Generator) -> Ids:
    """Random control: ``count`` different experts drawn from the active ones."""
    return np.sort(rng.choice(np.flatnonzero(sums.tokens.sum(0)), count, replace=False))


def equally_active(sums: LabelSums, experts: Ids, rng: np.random.Generator) -> Ids:
    """Activity-matched control: as many other experts, drawn to be about as active.

    Active experts are cut into ``MASS_STRATA`` strata by mass; each gives as many experts outside ``experts`` as it
    holds inside. What a stratum is short of comes from the next less active one, and what the last is short of from the
    least active that are left.
    """
    active = np.flatnonzero(sums.tokens.sum(0))
    active = active[np.argsort(-sums.mass.sum(0)[active], kind="stable")]
    inside = np.isin(active, experts)
    drawn, short = [np.zeros(0, np.int64)], 0
    for stratum, taken in zip(np.array_split(active, MASS_STRATA), np.array_split(inside, MASS_STRATA), strict=True):
        free, wanted = stratum[~taken], short + int(taken.sum())
        drawn.append(rng.choice(free, min(wanted, len(free)), replace=False))
        short = wanted - len(drawn[-1])
    left = active[~inside & ~np.isin(active, np.concatenate(drawn))]
    return np.sort(np.concatenate([*drawn, left[len(left) - short :]]))


def removal(layers: Sequence[int], experts: Sequence[Ids], num_keys: int) -> dict[int, Tensor]:
    """The edit that ablates experts, as ``edit_experts`` takes it; groups that lose none have no entry.

    Args:
        layers: the layer that owns each group's router.
        experts: flat ids to ablate in each group.
        num_keys: E.
    """
    import torch

    edits = {}
    for layer, ids in zip(layers, experts, strict=True):
        if len(ids):
            factors = torch.ones(num_keys**2)
            factors[torch.from_numpy(ids)] = 0.0
            edits[layer] = factors.view(num_keys, num_keys)
    return edits
