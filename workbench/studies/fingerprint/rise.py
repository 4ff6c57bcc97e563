"""Sums over what experts add to fingerprints in two models: who holds the rise, and how much of it fingerprints share.

A *cell* is a key and a unit (an expert, or a neuron) that is active there in either model. Nothing here is dense in
keys and units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .key_parts import Floats, Ids, KeyParts


@dataclass(frozen=True)
class Cells:
    """What units add at keys, in the fingerprinted model and in its base.

    Attributes:
        keys: how many keys there are.
        units: how many units there are, active or not.
        key, unit: (cells,) sorted by these.
        value: (cells,) what the unit adds in the fingerprinted model; 0 where it is not active.
        base: (cells,) the same in the base.
        active: (cells,) whether the unit is active in the fingerprinted model.
    """

    keys: int
    units: int
    key: Ids
    unit: Ids
    value: Floats
    base: Floats
    active: NDArray[np.bool_]

    @classmethod
    def of(cls, parts: KeyParts, base: KeyParts, units: int) -> Cells:
        """The cells of two models' parts of the same logits."""
        pair, place = np.unique(
            np.concatenate([one.key * units + one.unit for one in (parts, base)]), return_inverse=True
        )
        mine, other = place[: len(parts.key)], place[len(parts.key) :]
        value, of_base = np.zeros(len(pair)), np.zeros(len(pair))
        active = np.zeros(len(pair), bool)
        value[mine], of_base[other], active[mine] = parts.value, base.value, True
        return cls(len(parts.logit), units, pair // units, pair % units, value, of_base, active)

    @property
    def difference(self) -> Floats:
        """(cells,) what the unit adds in the fingerprinted model, minus what it adds in the base."""
        return self.value - self.base

    def mean(self, values: Floats) -> Floats:
        """(units,) the mean over all keys of values of cells."""
        return np.bincount(self.unit, values, self.units) / self.keys


def removal_order(mean: Floats) -> Ids:
    """The units whose mean difference is positive, largest first; equal ones by number."""
    order = np.argsort(-mean, kind="stable")
    return order[: int((mean > 0).sum())]


def holders(values: Floats, part: float) -> int:
    """How few of the values sum to a part of the sum of the positive ones; 0 where none is positive.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.fingerprint.rise import holders
        >>> holders(np.array([1.0, -9.0, 5.0, 2.0]), 0.5), holders(np.array([1.0, -9.0, 5.0, 2.0]), 0.9)
        (1, 3)
    """
    return int(holders_by_key(np.zeros(len(values), np.int64), values, 1, part)[0])


def holders_by_key(key: Ids, values: Floats, keys: int, part: float) -> Ids:
    """(keys,) the ``holders`` among the values of each key.

    Args:
        key, values: (cells,).
        keys: how many there are.
        part: of the sum of the positive values of each.
    """
    positive = values > 0
    key, values = key[positive], values[positive]
    order = np.lexsort((-values, key))
    key, values = key[order], values[order]
    before = np.cumsum(values) - values  # of all keys so far; a key's own part of it is what its first row has not
    first = np.searchsorted(key, np.arange(keys))
    start = before[first[key]] if len(key) else before
    total = np.bincount(key, values, keys)
    needed = before - start < part * total[key] * (1 - 1e-12)  # a sum that reaches the part but for rounding does
    return np.bincount(key[needed], minlength=keys)


def mean_overlap(key: Ids, unit: Ids, values: Floats, keys: int) -> float:
    """The overlap of two keys, averaged over all pairs: the sum over units of the smaller of their shares.

    A key's shares are its positive values divided by their sum; 1 minus the total variation distance of two keys'
    shares is their overlap. Within a unit, the r-th smallest of n shares is the smaller one in n - r pairs, so no pair
    is formed.

    Args:
        key, unit, values: (cells,).
        keys: how many there are; one without positive values overlaps with none.

    Returns:
        From 0 to 1; NaN where there are fewer than two keys.
    """
    if keys < 2:
        return float("nan")
    positive = values > 0
    key, unit, values = key[positive], unit[positive], values[positive]
    share = values / np.bincount(key, values, keys)[key]
    order = np.lexsort((share, unit))
    unit, share = unit[order], share[order]
    last = np.searchsorted(unit, unit, side="right") - 1
    larger = last - np.arange(len(unit))  # keys that have a larger share of the same unit
    return float((share * larger).sum() / (keys * (keys - 1) / 2))


def share_in(values: Floats, chosen: NDArray[np.bool_]) -> float:
    """The share of the sum of positive values that chosen ones have; NaN where none is positive."""
    positive = np.maximum(values, 0.0)
    total = positive.sum()
    return float(positive[chosen].sum() / total) if total > 0 else float("nan")


def strongest_by_key(cells: Cells, most: int) -> Ids:
    """Rows of the cells of largest difference of each key, at most so many each: by key, then falling difference."""
    order = np.lexsort((cells.unit, -cells.difference, cells.key))
    key = cells.key[order]
    rank = np.arange(len(order)) - np.searchsorted(key, key)
    return order[rank < most]
