"""Which experts to remove: those that prefer a label by some rule, and controls; from sums over the choosing part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import WorkbenchError
from ..specialisation.shares import label_shares, specialised_label
from ..sums import LabelSums

Ids = NDArray[np.int64]  # flat ids of experts of one group, ascending
Scores = NDArray[np.float64]
STRATA = 256


def specialists(sums: LabelSums, ratio: float, min_tokens: int) -> list[Ids]:
    """The experts specialised in each label by :func:`~workbench.analysis.specialisation.shares.specialised_label`."""
    shares = label_shares(sums.mass, sums.label_tokens)
    chosen = specialised_label(shares, sums.tokens.sum(0), ratio, min_tokens)
    return [np.flatnonzero(chosen == label) for label in range(len(shares))]


def preference(sums: LabelSums, label: int) -> NDArray[np.float64]:
    """An expert's rate for a label over its mean rate for the others, (E * E,).

    Both rates, mass over tokens of the label, are smoothed as though each label had one more active token of the
    expert's mean score: an expert seen little has no extreme preference. 1 for an expert never seen.
    """
    rate = sums.mass / sums.label_tokens[:, None]
    active = sums.tokens.sum(0)
    extra = sums.mass.sum(0) / np.maximum(active, 1) / sums.label_tokens.mean()
    others = (rate.sum(0) - rate[label]) / (len(rate) - 1)
    return np.divide(rate[label] + extra, others + extra, out=np.ones(len(active)), where=active > 0)


def rule_ratio(sums: LabelSums, label: int) -> NDArray[np.float64]:
    """An expert's rate for a label over its highest rate for another, (E * E,); infinite for an expert of one label.

    At 2 or more, an expert passes the paper's rule (5.1), as :func:`specialists` has it. 0 for one never seen.
    """
    rate = sums.mass / sums.label_tokens[:, None]
    second = np.delete(rate, label, 0).max(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(rate[label] > 0, rate[label] / second, 0.0)


ORDERS: dict[str, Callable[[LabelSums, int], NDArray[np.float64]]] = {"preference": preference, "ratio": rule_ratio}


def order_scores(sums: LabelSums, order: str, min_tokens: int) -> Scores:
    """Scores (labels, E * E) by which experts are removed, highest first; -inf where one was seen too little.

    Args:
        sums: of the choosing part.
        order: ``preference`` (:func:`preference`) or ``ratio`` (:func:`rule_ratio`).
        min_tokens: active tokens an expert needs to be removed.

    Raises:
        WorkbenchError: an unknown order.
    """
    if order not in ORDERS:
        raise WorkbenchError(f"there is no order {order!r}; there are {', '.join(ORDERS)}.")
    scores = np.stack([ORDERS[order](sums, label) for label in range(len(sums.mass))])
    return np.where(sums.tokens.sum(0) >= min_tokens, scores, -np.inf)


def random_experts(sums: LabelSums, count: int, rng: np.random.Generator) -> Ids:
    """``count`` different experts drawn from those active."""
    return np.sort(rng.choice(np.flatnonzero(sums.tokens.sum(0)), count, replace=False))


def equally_active(sums: LabelSums, experts: Ids, rng: np.random.Generator) -> Ids:
    """As many other experts, drawn so that they are about as active.

    Active experts are cut into :data:`STRATA` strata by their mass; each gives as many of those that are not in
    ``experts`` as it holds of those that are. What a stratum is short of comes from the next less active one, and what
    the last is short of from the least active that are left.
    """
    active = np.flatnonzero(sums.tokens.sum(0))
    active = active[np.argsort(-sums.mass.sum(0)[active], kind="stable")]
    given = np.isin(active, experts)
    drawn, short = [np.zeros(0, np.int64)], 0
    for stratum, taken in zip(np.array_split(active, STRATA), np.array_split(given, STRATA), strict=True):
        free, wanted = stratum[~taken], short + int(taken.sum())
        drawn.append(rng.choice(free, min(wanted, len(free)), replace=False))
        short = wanted - len(drawn[-1])
    left = active[~given & ~np.isin(active, np.concatenate(drawn))]
    return np.sort(np.concatenate([*drawn, left[len(left) - short :]]))


def removal(layers: Sequence[int], experts: Sequence[Ids], num_keys: int) -> dict[int, Tensor]:
    """Edit that removes experts, as ``edit_experts`` takes it; groups that lose none have no entry.

    Args:
        layers: the layer that owns each group's router.
        experts: flat ids to remove in each group.
        num_keys: E.
    """
    edits = {}
    for layer, ids in zip(layers, experts, strict=True):
        if len(ids):
            factors = torch.ones(num_keys**2)
            factors[torch.from_numpy(ids)] = 0.0
            edits[layer] = factors.view(num_keys, num_keys)
    return edits
