"""Intervals for what masking and curves measured: documents drawn anew, with replacement, within each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .curve_result import CHOSEN, RemovalCurve, column
from .mask_result import MaskResult

Floats = NDArray[np.float64]
SAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class MaskIntervals:
    """Percentile intervals of a :class:`~workbench.analysis.MaskResult`; each has the low end first.

    Attributes:
        level: part of the draws inside.
        samples, seed: of the draws.
        matrix: (2, R, L) of the rises in loss.
        control, equal: (2, R, L) of the controls'.
        delta_target, delta_others: (2,) of the means.
        selectivity: (2,) of their ratio; a draw in which the others do not rise counts as infinite.
    """

    level: float
    samples: int
    seed: int
    matrix: Floats
    control: Floats
    equal: Floats
    delta_target: Floats
    delta_others: Floats
    selectivity: Floats

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; an infinite end is null."""

        def plain(values: Floats) -> Any:
            found = values.astype(object)
            found[~np.isfinite(values)] = None
            return found.tolist()

        names = ("matrix", "control", "equal", "delta_target", "delta_others", "selectivity")
        return {"level": self.level, "samples": self.samples, "seed": self.seed} | {
            name: plain(getattr(self, name)) for name in names
        }


def resampled_means(documents: pd.DataFrame, sums: list[str], labels: list[str], samples: int, seed: int) -> Floats:
    """Means a token, by label, on documents drawn anew with replacement within each label, (samples, sums, labels).

    Args:
        documents: one row a document: label, tokens, and the columns ``sums`` to take the mean of.
    """
    rng = np.random.default_rng(seed)
    means = np.empty((samples, len(sums), len(labels)))
    for number, label in enumerate(labels):
        mine = documents[documents["label"] == label]
        drawn = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), samples).astype(np.float64)
        tokens = drawn @ mine["tokens"].to_numpy()
        means[:, :, number] = (drawn @ mine[sums].to_numpy()) / tokens[:, None]
    return means


def bootstrap_mask(result: MaskResult, *, level: float = LEVEL, samples: int = SAMPLES, seed: int = 0) -> MaskIntervals:
    """Percentile bootstrap over documents (Efron 1979): what another sample of documents might have shown.

    A draw takes as many documents of each label as were measured, with replacement, and computes everything anew from
    their sums, so each rise compares the model with and without experts on the same documents. Experts stay as they
    were chosen.

    Args:
        result: of ``mask_labels``.
        level: part of the draws inside the interval.
        samples: draws.
        seed: of the draws.
    """
    sums = ["loss", *(f"{kind}:{row}" for kind in ("loss", "control", "equal") for row in result.rows)]
    means = resampled_means(result.documents, sums, result.labels, samples, seed)
    rises = means[:, 1:] - means[:, :1]
    matrix, control, equal = np.split(rises, 3, axis=1)
    target = matrix[:, result.own].mean(1)
    others = matrix[:, ~result.own].mean(1)
    ratio = np.divide(target, others, out=np.full(samples, np.inf), where=others > 0)
    ends = [(1 - level) / 2, (1 + level) / 2]
    return MaskIntervals(
        level=level,
        samples=samples,
        seed=seed,
        matrix=np.quantile(matrix, ends, axis=0),
        control=np.quantile(control, ends, axis=0),
        equal=np.quantile(equal, ends, axis=0),
        delta_target=np.quantile(target, ends),
        delta_others=np.quantile(others, ends),
        selectivity=np.quantile(ratio, ends, method="nearest"),
    )


@dataclass(frozen=True)
class CurveIntervals:
    """Percentile intervals of a :class:`~workbench.analysis.RemovalCurve`, means over labels; low end first.

    Attributes:
        level: part of the draws inside.
        samples, seed: of the draws.
        points: index kind and threshold, as ``RemovalCurve.means``; columns target_low, target_high, others_low and
            others_high, nats.
        at_budget: (2,) rise of the target where that of the others reaches the budget.
    """

    level: float
    samples: int
    seed: int
    points: pd.DataFrame
    at_budget: Floats

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        given = {"level": self.level, "samples": self.samples, "seed": self.seed}
        return given | {"at_budget": self.at_budget.tolist(), "points": self.points.reset_index().to_dict("records")}


def bootstrap_curve(
    curve: RemovalCurve, *, level: float = LEVEL, samples: int = SAMPLES, seed: int = 0
) -> CurveIntervals:
    """Percentile bootstrap over documents of a curve of removal, drawn as :func:`bootstrap_mask` draws them.

    Each draw is read at the budget on its own curve. One that ends below the budget is read at its end, which is less
    than the target would rise to.

    Args:
        curve: of ``removal_curve``.
        level: part of the draws inside the interval.
        samples: draws.
        seed: of the draws.
    """
    labels = curve.labels
    steps = list(curve.means.index)
    names = [column(kind, threshold, label) for kind, threshold in steps for label in labels]
    means = resampled_means(curve.documents, ["loss", *names], labels, samples, seed)
    rises = (means[:, 1:] - means[:, :1]).reshape(samples, len(steps), len(labels), len(labels))
    own = np.eye(len(labels), dtype=bool)
    target, others = rises[..., own].mean(-1), rises[..., ~own].mean(-1)  # (samples, steps)
    ends = [(1 - level) / 2, (1 + level) / 2]
    columns = {}
    for name, values in (("target", target), ("others", others)):
        columns[f"{name}_low"], columns[f"{name}_high"] = np.quantile(values, ends, axis=0)
    chosen = [number for number, (kind, _) in enumerate(steps) if kind == CHOSEN]
    nothing = np.zeros((samples, 1))
    read = _at(np.hstack([nothing, others[:, chosen]]), np.hstack([nothing, target[:, chosen]]), curve.budget)
    points = pd.DataFrame(columns, index=curve.means.index)
    return CurveIntervals(level, samples, seed, points, np.quantile(read, ends))


def _at(others: Floats, target: Floats, budget: float) -> Floats:
    """Target, (samples,), where others first reach the budget, interpolated; both (samples, steps) from 0 on."""
    rows = np.arange(len(others))
    past = others >= budget
    last = np.where(past.any(1), past.argmax(1), others.shape[1] - 1)
    before = others[rows, last - 1]
    part = np.where(past.any(1), (budget - before) / (others[rows, last] - before), 1.0)
    return target[rows, last - 1] + part * (target[rows, last] - target[rows, last - 1])
