"""What every expert adds to a policy's mortalities, exactly, at many states: direct logit attribution of the actions.

A policy's mortality is a base plus the logit of an action's token behind the state, so its parts are those of that
logit (``workbench.analysis.attribute``): experts, attention heads and embedding, which sum to it. A policy of
``make_model`` leaves the directions that actions read to its experts alone; heads and embedding then add 0.

Source: Park et al. 2024, arXiv 2412.04139, section 3, for what an expert writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from monet_model.record import record_pass

from ...analysis.attribution.direct import expert_parts, rest_parts
from ...analysis.attribution.target import LinearTarget
from .fishery import SPECIES, Array, Fishery
from .tokens import Ids, action_ids, populations_of, state_ids

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

_AT_ONCE = 2048  # states that are read in one pass


@dataclass(frozen=True)
class Contributions:
    """The exact parts of a policy's mortalities at some states.

    Attributes:
        populations: (states, 3), the middles of the bins that the policy reads.
        visits: (states,) how often each was visited; 1 where that was not asked.
        base: (harvested species,) the mortality of a policy without experts.
        mortality: (states, harvested species), not cut to 0 … 1: base plus everything below.
        experts: one row per active expert of a layer and state, by layer, then state, then expert: ``layer``,
            ``state`` (number), ``expert`` (flat id), and ``Mx``, ``My``, what it adds to the mortality of each
            harvested species.
        rest: (states, harvested species) what heads and embedding add.
    """

    populations: Array
    visits: Array
    base: Array
    mortality: Array
    experts: pd.DataFrame
    rest: Array

    @property
    def actions(self) -> list[str]:
        """The names of the columns of contributions: ``Mx``, and from Model 3 on ``My``."""
        return [column for column in self.experts.columns if column.startswith("M")]

    @property
    def completeness(self) -> float:
        """The largest difference of a mortality and the sum of its parts: rounding, and nothing else."""
        return float(np.abs(self.summed() + self.rest + self.base - self.mortality).max(initial=0.0))

    @property
    def weight(self) -> Array:
        """(states,) each state's share of the visits."""
        share: Array = self.visits / self.visits.sum()
        return share

    def summed(self, rows: pd.DataFrame | None = None) -> Array:
        """(states, harvested species) the sum over experts, or over some rows of ``experts``."""
        rows = self.experts if rows is None else rows
        states = len(self.populations)
        return np.stack([np.bincount(rows["state"], rows[action], states) for action in self.actions], 1)


def contributions(model: MonetForCausalLM, fishery: Fishery, populations: Array) -> Contributions:
    """Take a policy's mortalities apart at the states that it visits.

    Populations in the same bins are one state to the policy; it is read once, and its visits are counted.

    Args:
        model: a policy, in evaluation mode; edits in force count.
        fishery: the fishery that it was trained on, of a model with a predator that varies.
        populations: (visits, 3), as ``corpus.visits`` has them.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import Fishery, make_model
        >>> from workbench.studies.control.contributions import contributions
        >>> parts = contributions(make_model(), Fishery.of(3), np.array([[0.6, 0.51, 0.2], [0.61, 0.51, 0.2]]))
        >>> parts.actions, parts.visits.tolist(), bool(parts.completeness < 1e-5)
        (['Mx', 'My'], [2.0], True)
    """
    ids, counts = np.unique(state_ids(fishery, populations), axis=0, return_counts=True)
    return read_parts(model, fishery, ids, counts.astype(np.float64))


@torch.no_grad()
def read_parts(model: MonetForCausalLM, fishery: Fishery, ids: Ids, visits: Array) -> Contributions:
    """Take a policy's mortalities apart at states given as ids (states, tokens), visited so often (states,)."""
    names = [f"M{SPECIES[column].lower()}" for column in fishery.harvested]
    tables, mortality, rest = [], [], []
    base = np.array(fishery.base)
    for start in range(0, len(ids), _AT_ONCE):
        batch = torch.from_numpy(ids[start : start + _AT_ONCE])
        record, out = record_pass(model, lambda batch=batch: model(batch, logits_to_keep=1, use_cache=False))  # type: ignore[misc]
        where = torch.arange(len(batch)), torch.full((len(batch),), batch.shape[1] - 1)
        beside: list[Array] = []
        columns: list[list[Array]] = []
        for token in action_ids(fishery):
            direction = LinearTarget.at(token, out.logits[0, -1]).direction(model, record.final[where])
            layers = list(expert_parts(model, record, where, direction))
            columns.append([values for _, _, _, values in layers])
            beside.append(rest_parts(model, record, where, direction)[1].sum(-1).numpy())
        for (layer, state, expert, _), *values in zip(layers, *columns, strict=True):
            known = {"layer": layer, "state": start + state, "expert": expert}
            tables.append(pd.DataFrame(known | dict(zip(names, values, strict=True))))
        rest.append(np.stack(beside, 1))
        mortality.append(base + out.logits[:, -1, action_ids(fishery)].double().numpy())
    experts = pd.concat(tables).sort_values(["layer", "state", "expert"], ignore_index=True)
    populations = populations_of(ids[:, 1:])
    return Contributions(populations, visits, base, np.concatenate(mortality), experts, np.concatenate(rest))
