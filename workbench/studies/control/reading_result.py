"""What `monet control rule` keeps in a run: the rule, the experts it was read off, and what was measured."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from ...analysis.results import Result, read_result
from .fishery import Fishery
from .harvest_rule import HarvestRule, rule_of

if TYPE_CHECKING:
    from ...store import Run


@dataclass(frozen=True)
class ControlReading(Result):
    """A policy read through its experts.

    Attributes:
        fishery: that the policy was trained on.
        rule: read off the experts.
        edge: population of the predator below which it was called scarce in that.
        explained: share of the variance of the sum of all experts that the rule explains, at the run's states.
        fit: ``Mx`` (and ``My``) -> R² of the rule's mortality to the policy's, on states of other episodes.
        completeness: the largest difference of a mortality and the sum of its parts.
        beside: ``Mx`` (and ``My``) -> the largest absolute part of a mortality that no expert made: of attention heads
            and embedding.
        selectivity: how many times as much mortality changes where the predator is scarce as where it is plenty,
            without the experts of a scarce predator.
        outcomes: one row per policy: ``policy`` (``policy``, ``rule``, ``constant mortality``), ``share`` (of the best
            constant mortality; missing for others), and how it does: ``episodes``, ``reward``, ``reward_sd``,
            ``reward_low``, ``reward_high``, ``whole``, ``whole_low``, ``whole_high``.
        removals: of ``removal.measure_removals``.
        perturbed: one row per strength and policy: ``strength``, ``policy``, ``fisheries``, ``reward``, ``reward_low``,
            ``reward_high`` (over fisheries), ``whole``.
        experts: of ``derive.RuleReading``.
        lattice: one row per harvested species, stock and predator: ``species`` (``X`` or ``Y``), ``stock``,
            ``predator``, ``mortality`` of that species, ``visits`` of the run's episodes there, ``layer`` and
            ``expert`` of the expert that adds most to it in absolute value, and ``added``, what that is. The other
            species is at its median.
        surfaces: what every expert adds to ``mortality`` on the lattice: ``point`` (row of it), ``layer``, ``expert``,
            ``added``.
    """

    kind: ClassVar[str] = "control"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet control rule"
    tables: ClassVar[tuple[str, ...]] = ("outcomes", "removals", "perturbed", "experts", "lattice", "surfaces")

    fishery: Fishery
    rule: HarvestRule
    edge: float
    explained: float
    fit: dict[str, float]
    completeness: float
    beside: dict[str, float]
    selectivity: float
    outcomes: pd.DataFrame
    removals: pd.DataFrame
    perturbed: pd.DataFrame
    experts: pd.DataFrame
    lattice: pd.DataFrame
    surfaces: pd.DataFrame

    @classmethod
    def command_line(cls, run: Run, name: str | None) -> str:
        """The command that computes the result; the run's model is its policy."""
        return f"{cls.command} {shlex.join([run.model_path, str(run.path)])}"

    def to_json(self) -> dict[str, Any]:
        """Everything but the tables."""
        numbers = {"fit": self.fit, "beside": self.beside, "edge": self.edge, "explained": self.explained}
        alone = {"completeness": self.completeness, "selectivity": self.selectivity}
        return {"fishery": self.fishery.to_dict(), "rule": self.rule.to_json()} | numbers | alone

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` and the tables describe."""
        known = stored | {"fishery": Fishery.of(**stored["fishery"]), "rule": rule_of(stored["rule"])}
        if known["selectivity"] is None:  # nothing changes where the predator is plenty
            known["selectivity"] = float("inf")
        return cls(**known, **tables)

    def outcome(self, policy: str) -> pd.Series:
        """The row of ``outcomes`` of a policy; of constant mortalities, the best."""
        rows = self.outcomes[self.outcomes["policy"] == policy]
        return rows.loc[rows["share"].sub(1).abs().idxmin()] if policy == CONSTANT else rows.iloc[0]

    @property
    def kept(self) -> float:
        """The rule's mean reward as a share of the policy's."""
        return float(self.outcome(RULE)["reward"] / self.outcome(POLICY)["reward"])


POLICY, RULE, CONSTANT = "policy", "rule", "constant mortality"


def read_control(run: Run) -> ControlReading | None:
    """What the last `monet control rule` found, or None where there is nothing.

    Raises:
        DamagedError: the file is cut or changed.
        UnsupportedError: it is of another version, or belongs to another run.
    """
    return read_result(run, ControlReading)
