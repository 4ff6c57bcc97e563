"""Intervals for what masking measured: documents drawn anew, with replacement, within each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
        control: (2, R, L) of the control's.
        delta_target, delta_others: (2,) of the means.
        selectivity: (2,) of their ratio; a draw in which the others do not rise counts as infinite.
    """

    level: float
    samples: int
    seed: int
    matrix: Floats
    control: Floats
    delta_target: Floats
    delta_others: Floats
    selectivity: Floats

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; an infinite end is null."""

        def plain(values: Floats) -> Any:
            found = values.astype(object)
            found[~np.isfinite(values)] = None
            return found.tolist()

        names = ("matrix", "control", "delta_target", "delta_others", "selectivity")
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
    sums = ["loss", *(f"loss:{row}" for row in result.rows), *(f"control:{row}" for row in result.rows)]
    means = resampled_means(result.documents, sums, result.labels, samples, seed)
    rises = means[:, 1:] - means[:, :1]
    matrix, control = np.split(rises, 2, axis=1)
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
        delta_target=np.quantile(target, ends),
        delta_others=np.quantile(others, ends),
        selectivity=np.quantile(ratio, ends, method="nearest"),
    )
