"""What the experts of two models did at the same tokens, summed: mass by label, active tokens, contributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .diff_result import CHANGES, holders
from .outputs import MeanUnits, lengths

if TYPE_CHECKING:
    from cuda_ext.routing import Routing

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class GroupSums:
    """The sums of one layer group over the tokens read so far; index 0 is the base model, 1 the tuned one.

    Attributes:
        tokens: (2, E * E) tokens where an expert is active.
        mass: (2, labels, E * E) sums of its routing scores.
        places: (E * E,) places in front of predicted tokens where it is active in either model.
        contribution: (2, E * E) sums of its contributions to the next token's logit at these.
        moved: (E * E,) sum of the absolute differences of the two.
        units: of each layer of the group.
    """

    def __init__(self, keys: int, labels: int, units: list[MeanUnits]) -> None:
        self.keys, self.units = keys, units
        self.tokens = np.zeros((2, keys**2), np.int64)
        self.mass = np.zeros((2, labels, keys**2))
        self.places = np.zeros(keys**2, np.int64)
        self.contribution = np.zeros((2, keys**2))
        self.moved = np.zeros(keys**2)

    def add_routing(self, routings: tuple[Routing, Routing], label: Ints) -> None:
        """Add what both models' experts scored at some tokens, each of a label's number, (tokens,)."""
        for model, routing in enumerate(routings):
            token, expert, score = (values.numpy(force=True) for values in routing.pairs())
            np.add.at(self.tokens[model], expert, 1)
            np.add.at(self.mass[model].reshape(-1), label[token] * self.keys**2 + expert, score.astype(np.float64))

    def add_contributions(self, found: tuple[tuple[Ints, Floats], tuple[Ints, Floats]]) -> None:
        """Add what both models' experts contributed at some places.

        Args:
            found: of each model, ``place * E * E + expert`` in ascending order, each once, and the contribution.
        """
        union = np.concatenate([found[0][0], found[1][0]])
        union.sort(kind="stable")  # two ascending runs are merged
        union = union[np.diff(union, prepend=-1) > 0]
        both = np.zeros((2, len(union)))
        for model, (at, contribution) in enumerate(found):
            both[model, np.searchsorted(union, at)] = contribution
        expert = union % self.keys**2
        np.add.at(self.places, expert, 1)
        for model in (0, 1):
            np.add.at(self.contribution[model], expert, both[model])
        np.add.at(self.moved, expert, np.abs(both[1] - both[0]))

    def table(self, group: int, labels: list[str], label_tokens: Ints) -> pd.DataFrame:
        """Every expert that is active in either model: the rows of ``DiffResult.experts``."""
        expert = np.flatnonzero(self.tokens.any(0) | (self.places > 0))
        mass = self.mass[:, :, expert]
        change = mass[1] - mass[0]
        rates = np.abs(change) / np.maximum(label_tokens, 1)[:, None]
        largest, whole = rates.argmax(0), rates.sum(0)
        names = np.array(labels, object)[largest]
        names[whole == 0] = ""
        base_output, output_change = self._outputs(expert)
        places = np.where(self.places[expert] > 0, self.places[expert], np.nan)
        contribution = self.contribution[:, expert] / places
        return pd.DataFrame(
            {
                "group": group,
                "expert": expert,
                "base_tokens": self.tokens[0, expert],
                "tuned_tokens": self.tokens[1, expert],
                "base_mass": mass[0].sum(0),
                "tuned_mass": mass[1].sum(0),
                "mass_change": change.sum(0),
                "label": names,
                "label_share": rates.max(0) / np.where(whole > 0, whole, 1),
                "base_output": base_output,
                "output_change": output_change,
                "places": self.places[expert],
                "base_contribution": contribution[0],
                "tuned_contribution": contribution[1],
                "contribution_change": contribution[1] - contribution[0],
                "contribution_moved": self.moved[expert],
            }
        )

    def _outputs(self, expert: Ints) -> tuple[Floats, Floats]:
        """Length of the base model's mean outputs and of their differences, for some experts."""
        parts = [units.parts() for units in self.units]
        of_base, of_change = (
            lengths([part for layer in parts for part in layer[kind]]).flatten().numpy(force=True)[expert]
            for kind in (0, 1)
        )
        return of_base, of_change

    def rerouted(self) -> tuple[Floats, Floats]:
        """(labels,) half the absolute changes of mass in each label, and the base model's mass in it."""
        return np.abs(self.mass[1] - self.mass[0]).sum(1) / 2, self.mass[0].sum(1)


def concentration(experts: pd.DataFrame, group: int) -> dict[str, int]:
    """How many experts of a group hold half of each change, and of the base model's mass: a row of ``groups``."""
    own = experts[experts["group"] == group]
    changes = {name: own[column].abs().fillna(0).to_numpy(np.float64) for name, column in CHANGES.items()}
    held = {name: holders(values**2 if name == "output" else values) for name, values in changes.items()}
    return {"group": group, "distinct": len(own), "base_mass": holders(own["base_mass"].to_numpy()), **held}
