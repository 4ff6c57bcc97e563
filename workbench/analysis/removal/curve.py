"""`monet curve`: remove what each label prefers, in order, and measure every label each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import WorkbenchError
from ...progress import job
from ..checks import check_same_model
from ..specialisation.shares import MIN_TOKENS
from ..sums import LabelSums
from .choose import Ids, Scores, equally_active, order_scores, random_experts, removal
from .curve_result import CHOSEN, RemovalCurve, column, write_curve
from .heldout import HeldOut
from .losses import Losses, document_losses

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

THRESHOLDS = (64.0, 32.0, 16.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.2)
BUDGET = 0.02
ORDER = "preference"
CONTROLS = ("random", "equal")


def removal_curve(
    run: Run,
    model: MonetForCausalLM,
    *,
    order: str = ORDER,
    thresholds: Sequence[float] = THRESHOLDS,
    budget: float = BUDGET,
    min_tokens: int = MIN_TOKENS,
    seed: int = 0,
    progress: bool = False,
) -> RemovalCurve:
    """Removes the experts of each label in order, those that prefer it most first, and measures every label each time.

    Experts are ordered by their score for a label, computed on one part of the run's documents
    (:func:`~workbench.analysis.removal.choose.order_scores` has the orders); losses are measured on the other, as by
    :func:`~workbench.analysis.mask_labels`. Thresholds fall until the others' mean rise passes the budget. At the two
    thresholds around it, as many experts are removed as controls: drawn from all active ones, and from others about as
    active. The result is kept in ``RUN/analysis``, for :func:`~workbench.analysis.read_curve`.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        order: the name of an order.
        thresholds: scores down to which experts are removed.
        budget: the rise of the others, nats, at which the curve is read.
        min_tokens: active tokens, in the choosing part, that an expert needs to be removed.
        seed: of the split and of the controls.
        progress: show tokens, rate and time left.

    Raises:
        WorkbenchError: an unknown order; no thresholds, or one that is not positive, or such a budget; another model;
            a run with one label or fewer than two documents of a label.
    """
    check_steps(thresholds, budget)
    check_same_model(run, model)
    heldout = HeldOut.split(run, seed)
    windows = heldout.measuring_windows()
    sums = [heldout.choosing_sums(group) for group in run.groups]
    scores = [order_scores(some, order, min_tokens) for some in sums]
    with job("removal curve", windows.predicted * passes(len(run.labels), thresholds), "tokens", progress) as advance:

        def measure(experts: Sequence[Ids]) -> Losses:
            return document_losses(model, windows, removal(run.group_layers, experts, run.num_keys), advance)

        curve = trace_curve(
            heldout,
            sums,
            scores,
            measure,
            order,
            thresholds=thresholds,
            budget=budget,
            min_tokens=min_tokens,
            seed=seed,
        )
    write_curve(run, curve)
    return curve


def check_steps(thresholds: Sequence[float], budget: float) -> None:
    """Raises WorkbenchError where no curve can be made of these."""
    if not len(thresholds) or not min(thresholds) > 0:
        raise WorkbenchError(f"thresholds must be positive numbers, at least one; got {list(thresholds)}.")
    if not budget > 0:
        raise WorkbenchError(f"the budget is a rise in nats above 0, got {budget}.")


def passes(labels: int, thresholds: Sequence[float]) -> int:
    """How often :func:`trace_curve` measures at most."""
    return 1 + labels * (len(thresholds) + len(CONTROLS) * min(2, len(thresholds)))


def trace_curve(
    heldout: HeldOut,
    sums: Sequence[LabelSums],
    scores: Sequence[Scores],
    measure: Callable[[Sequence[Ids]], Losses],
    order: str,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    budget: float = BUDGET,
    min_tokens: int = MIN_TOKENS,
    seed: int = 0,
) -> RemovalCurve:
    """The curve of any model whose units can be removed; arguments as in :func:`removal_curve`, and

    Args:
        heldout: the documents.
        sums: what the units of each place (a group of experts, a layer of neurons) did on the choosing part.
        scores: (labels, units) of the units of each place; -inf for one that is not to be removed.
        measure: losses of the measuring part with such units of each place removed.
        order: the name of these scores.
    """
    labels, documents = heldout.run.labels, heldout.measuring
    label_of = documents["label"].to_numpy()
    plain = measure([np.empty(0, np.int64)] * len(sums))
    baseline = plain.mean_loss(label_of)
    points: list[dict[str, Any]] = []
    losses: dict[str, Any] = {
        "doc": documents["doc"],
        "label": np.array(labels)[label_of],
        "tokens": plain.tokens,
        "loss": plain.loss,
    }

    def add(kind: str, threshold: float) -> float:
        """Adds a point for each label; the mean rise of the others."""
        for number, label in enumerate(labels):
            rng = np.random.default_rng([seed, number, CONTROLS.index(kind) if kind in CONTROLS else 0])
            units = []
            for some, score in zip(sums, scores, strict=True):
                chosen = np.flatnonzero(score[number] >= threshold)
                if kind == "random":
                    chosen = random_experts(some, len(chosen), rng)
                elif kind == "equal":
                    chosen = equally_active(some, chosen, rng)
                units.append(chosen)
            found = measure(units) if any(map(len, units)) else plain
            rise = found.mean_loss(label_of) - baseline
            point = {"threshold": threshold, "kind": kind, "label": label, "removed": sum(map(len, units))}
            points.append(point | {"target": rise[number], "others": np.delete(rise, number).mean()})
            losses[column(kind, threshold, label)] = found.loss
        return float(np.mean([point["others"] for point in points[-len(labels) :]]))

    taken = []
    for threshold in sorted(set(thresholds), reverse=True):
        taken.append(threshold)
        if add(CHOSEN, threshold) >= budget:
            break
    for kind in CONTROLS:
        for threshold in taken[-2:]:
            add(kind, threshold)
    return RemovalCurve(list(labels), order, budget, pd.DataFrame(points), pd.DataFrame(losses), min_tokens, seed)
