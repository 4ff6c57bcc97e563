"""Which units to remove, and how many: in the order that keys or clean text gives, and controls of as many units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...analysis.removal.choose import equally_active
from ...analysis.removal.curve_result import RANDOM
from ...analysis.sums import LabelSums
from .erase_result import CHANGED, DRAWN, LOCATED, UNUSED
from .fingerprints import Fingerprints
from .key_parts import Floats, Ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARE = 0.01  # of all units, that is always among the sizes
CHANGE_TOKENS = 20_000  # of clean text that outputs are compared on


@dataclass(frozen=True)
class Subject:
    """A fingerprinted model whose units can be removed.

    A unit has a number over all places (groups of experts, layers of neurons), in the order of these.

    Attributes:
        units: ``experts`` or ``neurons``.
        model: the model, in evaluation mode.
        fingerprints: its secret.
        chose: (keys,) numbers of the fingerprints that chose ``located``.
        sizes: units of each place.
        located: units in the order in which those keys say to remove them.
        mass: (units,) how much each is used on clean text.
        changed: (units,) how far what it writes is from what it writes in the base.
        removing: a context in which units of each place are removed, given by their number in the place.
    """

    units: str
    model: PreTrainedModel
    fingerprints: Fingerprints
    chose: Ids
    sizes: list[int]
    located: Ids
    mass: Floats
    changed: Floats
    removing: Callable[[list[Ids]], AbstractContextManager[None]]

    @property
    def total(self) -> int:
        """Units of all places."""
        return sum(self.sizes)

    def by_place(self, units: Ids) -> list[Ids]:
        """The units of each place, by their number in it, ascending."""
        ends = np.cumsum(self.sizes)
        units = np.sort(units)
        parts = np.split(units, np.searchsorted(units, ends[:-1]))
        return [part - (end - size) for part, end, size in zip(parts, ends, self.sizes, strict=True)]


def key_halves(keys: int, seed: int) -> tuple[Ids, Ids]:
    """Two halves of the numbers of keys, each ascending: those that choose, and the others."""
    order = np.random.default_rng(seed).permutation(keys)
    middle = (keys + 1) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def some_documents(documents: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Documents drawn until they have ``CHANGE_TOKENS`` tokens."""
    drawn = documents.sample(frac=1, random_state=seed)
    return drawn[drawn["tokens"].cumsum() - drawn["tokens"] < CHANGE_TOKENS]


def removal_counts(ranked: int, total: int) -> list[int]:
    """How many units are removed: 1, 2, 4 and so on, 1 % of all, and all that are ranked.

    Examples:
        >>> from workbench.studies.fingerprint.removals import removal_counts
        >>> removal_counts(100, 2000)
        [1, 2, 4, 8, 16, 20, 32, 64, 100]
    """
    doubled = [2**power for power in range(ranked.bit_length()) if 2**power <= ranked]
    return sorted({*doubled, *(size for size in (int(SHARE * total), ranked) if 0 < size <= ranked)})


def control_counts(counts: list[int], total: int) -> list[int]:
    """The counts of the orders beside the located one: every other, from the largest down, and 1 % of all.

    Each is a pass over all documents, and between two of them little happens.

    Examples:
        >>> from workbench.studies.fingerprint.removals import control_counts
        >>> control_counts([1, 2, 4, 8, 16, 20, 32, 64, 100], 2000)
        [1, 4, 16, 20, 32, 100]
    """
    one_percent = int(SHARE * total)
    return [count for count in counts if count == one_percent or count in counts[::-2]]


def ordered_removals(subject: Subject, order: str, seed: int) -> Ids:
    """All units in an order that needs no draw: a prefix of it is what is removed.

    Args:
        subject: the model.
        order: ``located``, ``unused`` (least used first) or ``changed`` (most first).
        seed: of the order of units that are equal in that.
    """
    if order == LOCATED:
        return subject.located
    first = {UNUSED: subject.mass, CHANGED: -subject.changed}[order]
    return np.lexsort((np.random.default_rng(seed).random(len(first)), first))


def drawn_removal(subject: Subject, order: str, chosen: Sequence[Ids], seed: int, draw: int) -> list[Ids] | None:
    """A control for the removal of units: as many others of each place, drawn at random.

    Args:
        subject: the model.
        order: ``random``, from all units of the place, of which a larger draw of one number holds every smaller one; or
            ``equal``, from others that are about as much used.
        chosen: the units removed in each place.
        seed, draw: of the draw.

    Returns:
        The units of each place, ascending; None where more than half of a place is removed, so that it has not as many
        others.
    """
    rng = np.random.default_rng([seed, DRAWN.index(order), draw])
    if order == RANDOM:
        return [np.sort(rng.permutation(size)[: len(ids)]) for size, ids in zip(subject.sizes, chosen, strict=True)]
    if any(2 * len(ids) > size for size, ids in zip(subject.sizes, chosen, strict=True)):
        return None
    ends = np.cumsum(subject.sizes)
    places = [subject.mass[end - size : end][None] for end, size in zip(ends, subject.sizes, strict=True)]
    # Every unit can be drawn, also one that clean text never uses: fingerprints may lie in such ones.
    sums = [LabelSums(mass, np.ones(mass.shape, np.int64), np.ones(1, np.int64)) for mass in places]
    return [equally_active(some, ids, rng) for some, ids in zip(sums, chosen, strict=True)]
