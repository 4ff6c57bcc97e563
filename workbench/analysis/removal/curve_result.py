"""The price of unlearning: what a label loses against what the others lose; the result, and where a run keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...store.files import write_json, write_parquet

if TYPE_CHECKING:
    from ...store import Run

CHOSEN = "chosen"  # the kind of point that is no control
RESULT, POINTS, DOCUMENTS = "curve.json", "curve-points.parquet", "curve-documents.parquet"
_GIVEN = ("labels", "order", "budget", "min_tokens", "seed")


@dataclass(frozen=True)
class RemovalCurve:
    """Delta Target against Delta Others as experts, or other units of a model, are removed in order.

    Attributes:
        labels: the labels removed and measured.
        order: by which units are removed, see :func:`~workbench.analysis.removal_curve`.
        budget: the rise of the others, nats, at which the curve is read.
        points: one row a label, threshold and kind: threshold, kind (``chosen``, or the controls ``random`` and
            ``equal``), label, removed (units), target (rise in its own loss, nats) and others (mean rise of the
            others).
        documents: one row a measured document: doc, label, tokens (predicted), loss (sum, nats), and for each point
            its sum under the name that :func:`column` gives.
        min_tokens, seed: as :func:`~workbench.analysis.removal_curve` took them.
    """

    labels: list[str]
    order: str
    budget: float
    points: pd.DataFrame
    documents: pd.DataFrame
    min_tokens: int
    seed: int

    @property
    def means(self) -> pd.DataFrame:
        """Means over labels: index kind and threshold, falling; columns removed, target, others."""
        means = self.points.groupby(["kind", "threshold"])[["removed", "target", "others"]].mean()
        return means.sort_index(level="threshold", ascending=False, sort_remaining=False)

    def at_budget(self) -> dict[str, dict[str, float]] | None:
        """Removed, target and others, by kind, where the mean rise of the others reaches the budget.

        Between the thresholds on either side, or nothing removed, everything is interpolated linearly by the others'
        rise when the chosen experts are removed. None where the curve ends below the budget.
        """
        chosen = self.means.loc[CHOSEN]
        past = np.flatnonzero(chosen["others"].to_numpy() >= self.budget)
        if not len(past):
            return None
        last = past[0]
        below = chosen.iloc[last - 1]["others"] if last else 0.0
        part = (self.budget - below) / (chosen.iloc[last]["others"] - below)
        found = {}
        for kind, means in self.means.groupby("kind"):
            by_threshold = means.droplevel("kind")
            ends = [by_threshold.loc[chosen.index[last - 1]] if last else 0.0, by_threshold.loc[chosen.index[last]]]
            found[str(kind)] = (ends[0] + part * (ends[1] - ends[0])).to_dict()
        return found

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without the documents."""
        return {
            **{name: getattr(self, name) for name in _GIVEN},
            "at_budget": self.at_budget(),
            "means": self.means.reset_index().to_dict("records"),
            "points": self.points.to_dict("records"),
        }


def column(kind: str, threshold: float, label: str) -> str:
    """Where ``RemovalCurve.documents`` holds the losses of a point."""
    return f"{kind}:{threshold:g}:{label}"


def write_curve(run: Run, curve: RemovalCurve) -> None:
    """Keeps a result in ``RUN/analysis``; the JSON comes last, and :func:`read_curve` looks for it first."""
    for name, table in ((POINTS, curve.points), (DOCUMENTS, curve.documents)):
        write_parquet(run.analysis_path(name), pa.Table.from_pandas(table, preserve_index=False))
    write_json(run.analysis_path(RESULT), curve.to_json())


def read_curve(run: Run) -> RemovalCurve | None:
    """The result of the last :func:`~workbench.analysis.removal_curve` of a run; None where there is none.

    One that an older version kept, without the documents, counts as none.
    """
    path = run.analysis_path(RESULT)
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    if not stored.keys() >= {*_GIVEN}:
        return None
    points, documents = (pq.read_table(run.analysis_path(name)).to_pandas() for name in (POINTS, DOCUMENTS))
    return RemovalCurve(**{name: stored[name] for name in _GIVEN}, points=points, documents=documents)
