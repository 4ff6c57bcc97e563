"""The price of unlearning: what a label loses against what the others lose, as its experts are removed in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import WorkbenchError
from ..progress import job
from ..store.files import write_json, write_parquet
from .heldout import HeldOut, document_losses
from .removal import Ids, equally_active, preferring, random_experts, removal
from .selectivity import MIN_TOKENS
from .sums import LabelSums
from .targets import check_same_model

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

THRESHOLDS = (16.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.5)
BUDGET = 0.02
CONTROLS = ("random", "equal")
RESULT, POINTS = "curve.json", "curve-points.parquet"


@dataclass(frozen=True)
class RemovalCurve:
    """Delta Target against Delta Others as experts are removed in order.

    Attributes:
        labels: the labels removed and measured.
        budget: the rise of the others, nats, at which the curve is read.
        points: one row a label, threshold and kind: threshold, kind (``chosen``, or the controls ``random`` and
            ``equal``), label, removed (experts, over all groups), target (rise in its own loss, nats) and others (mean
            rise of the others).
        min_tokens, seed: as :func:`removal_curve` took them.
    """

    labels: list[str]
    budget: float
    points: pd.DataFrame
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
        chosen = self.means.loc["chosen"]
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
        """JSON-ready."""
        return {
            "labels": self.labels,
            "budget": self.budget,
            "min_tokens": self.min_tokens,
            "seed": self.seed,
            "at_budget": self.at_budget(),
            "means": self.means.reset_index().to_dict("records"),
            "points": self.points.to_dict("records"),
        }


def removal_curve(
    run: Run,
    model: MonetForCausalLM,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    budget: float = BUDGET,
    min_tokens: int = MIN_TOKENS,
    seed: int = 0,
    progress: bool = False,
) -> RemovalCurve:
    """Removes the experts of each label in order, those that prefer it most first, and measures every label each time.

    Experts are ordered by :func:`~workbench.analysis.removal.preference`, their rate for the label over their
    mean rate for the others, on one part of the run's documents; losses are measured on the other, as by
    :func:`~workbench.analysis.mask_labels`. Thresholds fall until the others' mean rise passes the budget. At the two
    thresholds around it, as many experts are removed as controls: drawn from all active ones, and from others about as
    active. The result is kept in ``RUN/analysis``, for :func:`read_curve`.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        thresholds: preferences down to which experts are removed.
        budget: the rise of the others, nats, at which the curve is read.
        min_tokens: active tokens, in the choosing part, that an expert needs to be removed.
        seed: of the split and of the controls.
        progress: show tokens, rate and time left.

    Raises:
        WorkbenchError: no thresholds, or one that is not positive, or such a budget; another model; a run with one
            label or fewer than two documents of a label.
    """
    steps = sorted(set(thresholds), reverse=True)
    if not steps or not steps[-1] > 0:
        raise WorkbenchError(f"thresholds must be positive numbers, at least one; got {list(thresholds)}.")
    if not budget > 0:
        raise WorkbenchError(f"the budget is a rise in nats above 0, got {budget}.")
    check_same_model(run, model)
    heldout = HeldOut.split(run, seed)
    windows, label_of = heldout.measuring_windows(), heldout.measuring["label"].to_numpy()
    sums = [heldout.choosing_sums(group) for group in run.groups]
    passes = 1 + len(run.labels) * (len(steps) + len(CONTROLS) * min(2, len(steps)))
    points = []
    with job("removal curve", windows.predicted * passes, "tokens", progress) as report:
        plain = document_losses(model, windows, {}, report).mean_loss(label_of)

        def measure(kind: str, threshold: float) -> float:
            """Adds a point for each label; the mean rise of the others."""
            for number, label in enumerate(run.labels):
                rng = np.random.default_rng([seed, number, CONTROLS.index(kind) if kind in CONTROLS else 0])
                experts = [_draw(some, number, kind, threshold, min_tokens, rng) for some in sums]
                edits = removal(run.group_layers, experts, run.num_keys)
                rise = document_losses(model, windows, edits, report).mean_loss(label_of) - plain
                points.append(
                    {
                        "threshold": threshold,
                        "kind": kind,
                        "label": label,
                        "removed": sum(map(len, experts)),
                        "target": float(rise[number]),
                        "others": float(np.delete(rise, number).mean()),
                    }
                )
            return float(np.mean([point["others"] for point in points[-len(run.labels) :]]))

        taken = []
        for threshold in steps:
            taken.append(threshold)
            if measure("chosen", threshold) >= budget:
                break
        for kind in CONTROLS:
            for threshold in taken[-2:]:
                measure(kind, threshold)
    curve = RemovalCurve(list(run.labels), budget, pd.DataFrame(points), min_tokens, seed)
    write_parquet(run.analysis_path(POINTS), pa.Table.from_pandas(curve.points, preserve_index=False))
    write_json(run.analysis_path(RESULT), curve.to_json())
    return curve


def _draw(sums: LabelSums, label: int, kind: str, threshold: float, min_tokens: int, rng: np.random.Generator) -> Ids:
    """The experts of a group to remove."""
    chosen = preferring(sums, label, threshold, min_tokens)
    if kind == "random":
        return random_experts(sums, len(chosen), rng)
    return equally_active(sums, chosen, rng) if kind == "equal" else chosen


def read_curve(run: Run) -> RemovalCurve | None:
    """The result of the last :func:`removal_curve` of a run; None where there is none."""
    path = run.analysis_path(RESULT)
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    points = pq.read_table(run.analysis_path(POINTS)).to_pandas()
    return RemovalCurve(stored["labels"], stored["budget"], points, stored["min_tokens"], stored["seed"])
