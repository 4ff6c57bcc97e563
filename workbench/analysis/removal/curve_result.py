"""The result of `monet curve`: the forget/retain trade-off of ablating experts in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from ..results import Result, read_result

if TYPE_CHECKING:
    from ...store import Run

CHOSEN, RANDOM, ACTIVITY_MATCHED = "chosen", "random", "equal"  # kinds of point, as they are stored
CONTROLS = {RANDOM: "random control", ACTIVITY_MATCHED: "activity-matched control"}
SETTINGS = ("labels", "order", "budget", "min_tokens", "seed", "skipped", "confirmed")


@dataclass(frozen=True)
class RemovalCurve(Result):
    """Rise in loss of the target label against that of the others, as experts (or other units) are ablated in order.

    Attributes:
        labels: the labels measured.
        order: that units are ablated in, see ``removal_curve``.
        budget: rise in the others' loss, nats per token, at which the curve is read.
        points: one row per label, threshold and kind. Columns:

            - ``threshold``: units whose score is at least this are ablated;
            - ``kind``: ``chosen``, or a control of as many units: ``random``, or ``equal`` (activity-matched);
            - ``label``: the target, whose units are ablated;
            - ``removed``: units ablated;
            - ``target``: rise in the target's loss, nats per token;
            - ``others``: mean rise in the other labels' loss, nats per token.

        documents: one row per measured document. Columns ``doc``, ``unit`` (number of the first document that it is a
            near copy of; its own otherwise), ``label``, ``tokens`` (predicted), ``loss`` (sum over them for the
            unedited model, nats), and the same sum for each point, named by ``column``.
        min_tokens, seed, confirmed: as for ``removal_curve``.
        skipped: labels of the run that have too few documents to be split, and are in nothing here.
    """

    kind: ClassVar[str] = "curve"
    version: ClassVar[int] = 3
    command: ClassVar[str] = "monet curve"
    tables: ClassVar[tuple[str, ...]] = ("points", "documents")

    labels: list[str]
    order: str
    budget: float
    points: pd.DataFrame
    documents: pd.DataFrame
    min_tokens: int
    seed: int
    skipped: list[str] = field(default_factory=list)
    confirmed: bool = False

    @property
    def rows(self) -> list[str]:
        """The labels ablated; all that are measured by default."""
        return [str(label) for label in self.points["label"].unique()]

    @property
    def means(self) -> pd.DataFrame:
        """Means over labels: index kind and threshold, falling; columns ``removed``, ``target``, ``others``."""
        means = self.points.groupby(["kind", "threshold"])[["removed", "target", "others"]].mean()
        return means.sort_index(level="threshold", ascending=False, sort_remaining=False)

    def at_budget(self) -> dict[str, dict[str, float]] | None:
        """Read the curve where the mean rise of the others reaches the budget.

        Between the thresholds on either side (or no ablation at all), everything is interpolated linearly by the rise
        of the others when the chosen units are ablated.

        Returns:
            kind -> ``removed``, ``target`` and ``others`` there; None where the curve ends below the budget.
        """
        chosen = self.means.loc[CHOSEN]
        past = np.flatnonzero(chosen["others"].to_numpy() >= self.budget)
        if not len(past):
            return None
        last = past[0]
        below = chosen.iloc[last - 1]["others"] if last else 0.0
        part = (self.budget - below) / (chosen.iloc[last]["others"] - below)
        values = {}
        for kind, means in self.means.groupby("kind"):
            by_threshold = means.droplevel("kind")
            ends = [by_threshold.loc[chosen.index[last - 1]] if last else 0.0, by_threshold.loc[chosen.index[last]]]
            values[str(kind)] = (ends[0] + part * (ends[1] - ends[0])).to_dict()
        return values

    def to_json(self) -> dict[str, Any]:
        """Return all but the documents, in JSON types."""
        return {
            **{name: getattr(self, name) for name in SETTINGS},
            "at_budget": self.at_budget(),
            "means": self.means.reset_index().to_dict("records"),
            "points": self.points.to_dict("records"),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The curve that ``to_json`` and the tables describe."""
        return cls(**{name: stored[name] for name in SETTINGS}, **tables)

    @classmethod
    def upgrade(cls, stored: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 3 can be of confirmed experts only; before version 2 a run with a label to skip was refused."""
        return {"skipped": [], "confirmed": False} | stored


def column(kind: str, threshold: float, label: str) -> str:
    """Name of the column of ``RemovalCurve.documents`` that holds the losses of a point."""
    return f"{kind}:{threshold:g}:{label}"


def read_curve(run: Run, name: str | None = None) -> RemovalCurve | None:
    """Return the stored result of ``removal_curve``; None where there is none.

    Args:
        run: an opened run.
        name: that the curve was kept under; None for the unnamed one.

    Raises:
        DamagedError: the file is cut or changed.
        UnsupportedError: the file is of a version that cannot be read, or belongs to another run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_curve
        >>> read_curve(open_run("runs/demo"), name="never-made") is None
        True
    """
    return read_result(run, RemovalCurve, name)
