"""Confidence intervals of masking and trade-off curves: bootstrap over documents, within each label.

Near copies are drawn together, as one document: else an interval would shrink by every copy in the corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import deprecated

from ...errors import BadInputError
from ...store.files import to_json_types
from ..defaults import LEVEL, SAMPLES
from .curve_result import CHOSEN, RemovalCurve, column
from .mask_result import MaskResult

Floats = NDArray[np.float64]


def check_bootstrap(level: float, samples: int) -> None:
    """Raise BadInputError where these make no interval."""
    if not 0 < level < 1:
        raise BadInputError(f"level must lie between 0 and 1, got {level}.")
    if samples < 1:
        raise BadInputError(f"samples must be at least 1, got {samples}.")


@dataclass(frozen=True)
class MaskIntervals:
    """Percentile intervals of a ``MaskResult``, nats per token; low end first.

    Attributes:
        level: of confidence, such as 0.95.
        samples, seed: of the bootstrap.
        matrix: (2, R, L) of the rises in loss.
        control: (2, R, L) of those under the random control.
        activity_matched: (2, R, L) of those under the activity-matched control.
        delta_target, delta_others: (2,) of the means.
        selectivity: (2,) of their ratio; a draw in which the others' loss does not rise counts as infinite.
    """

    level: float
    samples: int
    seed: int
    matrix: Floats
    control: Floats
    activity_matched: Floats
    delta_target: Floats
    delta_others: Floats
    selectivity: Floats

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON types; an infinite end is None, and the activity-matched control has the key ``equal``."""
        intervals = {
            "matrix": self.matrix,
            "control": self.control,
            "equal": self.activity_matched,
            "delta_target": self.delta_target,
            "delta_others": self.delta_others,
            "selectivity": self.selectivity,
        }
        settings = {"level": self.level, "samples": self.samples, "seed": self.seed}
        return settings | {name: to_json_types(values) for name, values in intervals.items()}

    @property
    @deprecated("MaskIntervals.equal is now MaskIntervals.activity_matched", category=DeprecationWarning)
    def equal(self) -> Floats:
        """(2, R, L) ``activity_matched`` under its old name."""
        return self.activity_matched


def resampled_means(documents: pd.DataFrame, sums: list[str], labels: list[str], samples: int, seed: int) -> Floats:
    """(samples, sums, labels) means per token, on documents drawn with replacement within each label.

    What is drawn are units: the near copies of a text come together, so they count as the one observation they are.

    Args:
        documents: one row per document: label, tokens, the columns ``sums``, and unit; without it each is its own.
        sums: columns to take the mean per token of.
        labels: in the order of the last dimension.
        samples, seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    unit = documents["unit" if "unit" in documents else "doc"]
    means = np.empty((samples, len(sums), len(labels)))
    for number, label in enumerate(labels):
        of_label = documents.loc[documents["label"] == label, ["tokens", *sums]].groupby(unit).sum()
        size = len(of_label)
        drawn = rng.multinomial(size, np.full(size, 1 / size), samples).astype(np.float64)
        tokens = drawn @ of_label["tokens"].to_numpy()
        means[:, :, number] = (drawn @ of_label[sums].to_numpy()) / tokens[:, None]
    return means


def bootstrap_mask(result: MaskResult, *, level: float = LEVEL, samples: int = SAMPLES, seed: int = 0) -> MaskIntervals:
    """Return confidence intervals of a mask result: percentile bootstrap over documents (Efron 1979).

    A draw takes as many documents of each label as were measured, near copies together, with replacement, and
    recomputes everything from their sums, so each rise compares the model with and without the experts on the same
    documents. The choice of experts stays fixed.

    Args:
        result: of ``mask_labels``.
        level: of confidence, between 0 and 1.
        samples: number of draws.
        seed: of the draws.

    Raises:
        BadInputError: level or samples is out of range.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import bootstrap_mask, read_mask
        >>> result = read_mask(open_run("runs/demo"))
        >>> low, high = bootstrap_mask(result, level=0.9).delta_target
        >>> bool(low <= result.delta_target <= high)
        True
    """
    check_bootstrap(level, samples)
    sums = ["loss", *(f"{kind}:{row}" for kind in ("loss", "control", "equal") for row in result.rows)]
    means = resampled_means(result.documents, sums, result.labels, samples, seed)
    rises = means[:, 1:] - means[:, :1]
    matrix, control, activity_matched = np.split(rises, 3, axis=1)
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
        activity_matched=np.quantile(activity_matched, ends, axis=0),
        delta_target=np.quantile(target, ends),
        delta_others=np.quantile(others, ends),
        selectivity=np.quantile(ratio, ends, method="nearest"),
    )


@dataclass(frozen=True)
class CurveIntervals:
    """Percentile intervals of the means over labels of a ``RemovalCurve``; low end first.

    Attributes:
        level: of confidence, such as 0.95.
        samples, seed: of the bootstrap.
        points: index kind and threshold, as ``RemovalCurve.means``; columns ``target_low``, ``target_high``,
            ``others_low`` and ``others_high``, nats per token.
        at_budget: (2,) rise in the target's loss, nats per token, where that of the others reaches the budget.
    """

    level: float
    samples: int
    seed: int
    points: pd.DataFrame
    at_budget: Floats

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON types."""
        settings = {"level": self.level, "samples": self.samples, "seed": self.seed}
        return settings | {"at_budget": self.at_budget.tolist(), "points": self.points.reset_index().to_dict("records")}


def bootstrap_curve(
    curve: RemovalCurve, *, level: float = LEVEL, samples: int = SAMPLES, seed: int = 0
) -> CurveIntervals:
    """Return confidence intervals of a trade-off curve: percentile bootstrap over documents, as ``bootstrap_mask``.

    Each draw is read at the budget on its own curve. One that ends below the budget is read at its end, which
    underestimates the target's rise.

    Args:
        curve: of ``removal_curve``.
        level: of confidence, between 0 and 1.
        samples: number of draws.
        seed: of the draws.

    Raises:
        BadInputError: level or samples is out of range.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import bootstrap_curve, removal_curve
        >>> from workbench.checkpoint import load_model
        >>> run = open_run("runs/demo")
        >>> curve = removal_curve(run, load_model("monet_model/demo"), thresholds=[8], name="example")
        >>> intervals = bootstrap_curve(curve, samples=200)
        >>> intervals.points.columns.tolist()
        ['target_low', 'target_high', 'others_low', 'others_high']
    """
    check_bootstrap(level, samples)
    labels, rows = curve.labels, curve.rows
    steps = list(curve.means.index)
    names = [column(kind, threshold, label) for kind, threshold in steps for label in rows]
    means = resampled_means(curve.documents, ["loss", *names], labels, samples, seed)
    rises = (means[:, 1:] - means[:, :1]).reshape(samples, len(steps), len(rows), len(labels))
    own = np.array(rows)[:, None] == np.array(labels)
    target, others = rises[..., own].mean(-1), rises[..., ~own].mean(-1)  # (samples, steps)
    ends = [(1 - level) / 2, (1 + level) / 2]
    columns = {}
    for name, values in (("target", target), ("others", others)):
        columns[f"{name}_low"], columns[f"{name}_high"] = np.quantile(values, ends, axis=0)
    chosen = [number for number, (kind, _) in enumerate(steps) if kind == CHOSEN]
    nothing = np.zeros((samples, 1))
    read = _target_at(np.hstack([nothing, others[:, chosen]]), np.hstack([nothing, target[:, chosen]]), curve.budget)
    points = pd.DataFrame(columns, index=curve.means.index)
    return CurveIntervals(level, samples, seed, points, np.quantile(read, ends))


def _target_at(others: Floats, target: Floats, budget: float) -> Floats:
    """(samples,) interpolated target where others first reach the budget; both arrays (samples, steps), from 0 on."""
    rows = np.arange(len(others))
    past = others >= budget
    last = np.where(past.any(1), past.argmax(1), others.shape[1] - 1)
    before = others[rows, last - 1]
    part = np.where(past.any(1), (budget - before) / (others[rows, last] - before), 1.0)
    return target[rows, last - 1] + part * (target[rows, last] - target[rows, last - 1])
