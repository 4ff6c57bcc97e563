"""Which experts to remove: those specialised in a label, chosen on one half of the documents, and random controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .selectivity import label_shares, specialised_label
from .sums import LabelSums

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """The experts of a group as the choosing half shows them.

    Attributes:
        sums: their mass and active tokens there.
        specialised: (E * E,) number of the label each is specialised in, or
            :data:`~workbench.analysis.selectivity.GENERALIST`.
    """

    sums: LabelSums
    specialised: NDArray[np.int64]

    @classmethod
    def by_rule(cls, sums: LabelSums, ratio: float, min_tokens: int) -> Choice:
        """By the rule of :func:`~workbench.analysis.selectivity.specialised_label`."""
        shares = label_shares(sums.mass, sums.label_tokens)
        return cls(sums, specialised_label(shares, sums.tokens.sum(0), ratio, min_tokens))

    def of_label(self, label: int) -> Ids:
        """Flat ids of the experts specialised in a label, by its number."""
        return np.flatnonzero(self.specialised == label)

    def random(self, count: int, rng: np.random.Generator) -> Ids:
        """Flat ids of ``count`` different experts drawn from those active."""
        return np.sort(rng.choice(np.flatnonzero(self.sums.tokens.sum(0)), count, replace=False))


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
