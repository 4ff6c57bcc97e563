"""`monet curve`: ablate what each label prefers, in order, and measure every label at each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import BadInputError
from ...progress import job
from ..checks import check_same_model
from ..defaults import BUDGET, MIN_TOKENS, ORDER
from ..results import check_name, write_result
from ..work import Passes, digest, kept_passes
from .choose import Ids, Scores, confirmed_experts, equally_active, order_scores, random_experts, removal
from .curve_result import ACTIVITY_MATCHED, CHOSEN, CONTROLS, RANDOM, RemovalCurve, column
from .heldout import HeldOut
from .losses import DocumentLosses, document_losses

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run
    from ..sums import LabelSums

THRESHOLDS = (64.0, 32.0, 16.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.2)


def removal_curve(
    run: Run,
    model: MonetForCausalLM,
    *,
    labels: Sequence[str] | None = None,
    order: str = ORDER,
    thresholds: Sequence[float] = THRESHOLDS,
    budget: float = BUDGET,
    min_tokens: int = MIN_TOKENS,
    confirmed: bool = False,
    seed: int = 0,
    name: str | None = None,
    sample: int | None = None,
    progress: bool = False,
    resume: bool = False,
) -> RemovalCurve:
    """Return the forget/retain trade-off curve: ablate the experts of each label in order, measuring every label.

    Experts are ordered by their score for a label, computed on one part of the run's documents
    (``ORDERS``); losses are measured on the other, as by ``mask_labels``.
    The threshold falls until the others' mean rise passes the budget. At the two thresholds around it, as many experts
    are ablated as controls: drawn from all active ones, and from others about as active. A label with fewer than two
    documents cannot be split: it is skipped, and named in the result.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        labels: the labels whose experts are ablated. Default: all that are not skipped.
        order: ``preference``, the rate for the label over the mean rate for the others; or ``ratio``, over the highest
            other rate, which is the paper's rule.
        thresholds: experts with at least this score are ablated; tried from the highest down.
        budget: rise in the others' loss, nats per token, at which the curve is read.
        min_tokens: active tokens, in the choosing part, that an expert needs to be ablated.
        confirmed: ablate only those that `monet analyze` has confirmed, as for ``mask_labels``.
        seed: of the split and of the controls.
        name: keep the curve under this name, beside the unnamed one.
        sample: read so many documents of each label, drawn at random, and not all.
        progress: show tokens, rate and time left.
        resume: go on from the passes that an interrupted analysis of the same run and settings has finished.

    Returns:
        The curve. Sets in the run, unless only some labels were asked for and no name was given:

        - ``RUN/analysis/curve.json``, ``curve-points.parquet`` and ``curve-documents.parquet``; ``read_curve``
          reads them.

        With a name, they lie in ``RUN/analysis/NAME``. An earlier curve of the same name is replaced. Until then, the
        losses of finished passes lie in ``curve.state`` beside them, for ``resume``.

    Raises:
        NotFoundError: an unknown label.
        NotAnalysedError: confirmed experts are asked for, and the run's have not been tested.
        BadInputError: an unknown order; no thresholds, or one that is not positive, or such a budget; fewer than two
            labels have two documents, or one asked for has not; what is to be resumed has other settings.
        UnsupportedError: the model is not the one the run was exported from.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import removal_curve
        >>> from workbench.checkpoint import load_model
        >>> run = open_run("runs/demo")
        >>> curve = removal_curve(run, load_model("monet_model/demo"), thresholds=[8], name="example")
        >>> curve.points["kind"].unique().tolist()
        ['chosen', 'random', 'equal']
        >>> bool(curve.means.loc[("chosen", 8), "target"] > curve.means.loc[("random", 8), "target"])
        True
    """
    check_steps(thresholds, budget)
    if name is not None:
        check_name(name)
    check_same_model(run, model)
    if sample is not None:
        run = run.sample(sample, seed)
    heldout = HeldOut.split(run, seed)
    rows = heldout.labels if labels is None else list(dict.fromkeys(labels))
    numbers = [heldout.number(label) for label in rows]
    windows = heldout.measuring_windows()
    sums = [heldout.choosing_sums(group) for group in run.groups]
    scores = [order_scores(of_group, order, min_tokens) for of_group in sums]
    if confirmed:
        for score, ids in zip(scores, confirmed_experts(run), strict=True):
            score[:, np.setdiff1d(np.arange(score.shape[1]), ids)] = -np.inf
    stored = name is not None or rows == heldout.labels
    steps = sorted(set(map(float, thresholds)), reverse=True)
    settings = {"labels": rows, "order": order, "thresholds": steps, "budget": budget, "min_tokens": min_tokens}
    settings |= {"confirmed": confirmed, "seed": seed, "experts": digest(score[numbers] for score in scores)}
    state = kept_passes(run, RemovalCurve, name, model, settings, stored=stored, resume=resume)
    most = windows.predicted * passes(len(rows), thresholds)
    with job("removal curve", most, "tokens", progress) as advance:
        kept = Passes(state, windows.predicted, advance)

        def measure(experts: Sequence[Ids]) -> DocumentLosses:
            edits = removal(run.group_layers, experts, run.num_keys)
            return DocumentLosses(**kept(lambda: vars(document_losses(model, windows, edits, advance))))

        curve = trace_curve(
            heldout,
            sums,
            scores,
            measure,
            order,
            numbers=numbers,
            thresholds=thresholds,
            budget=budget,
            min_tokens=min_tokens,
            seed=seed,
        )
    curve = replace(curve, confirmed=confirmed)
    if stored:
        write_result(run, curve, name)
    if state is not None:
        state.remove()
    return curve


def check_steps(thresholds: Sequence[float], budget: float) -> None:
    """Raise BadInputError where no curve can be made of these."""
    if not len(thresholds) or not min(thresholds) > 0:
        raise BadInputError(f"thresholds must be positive numbers, at least one; got {list(thresholds)}.")
    if not budget > 0:
        raise BadInputError(f"the budget is a rise in nats above 0, got {budget}.")


def passes(labels: int, thresholds: Sequence[float]) -> int:
    """The most often that ``trace_curve`` measures."""
    return 1 + labels * (len(thresholds) + len(CONTROLS) * min(2, len(thresholds)))


def trace_curve(
    heldout: HeldOut,
    sums: Sequence[LabelSums],
    scores: Sequence[Scores],
    measure: Callable[[Sequence[Ids]], DocumentLosses],
    order: str,
    *,
    numbers: Sequence[int] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    budget: float = BUDGET,
    min_tokens: int = MIN_TOKENS,
    seed: int = 0,
) -> RemovalCurve:
    """The curve of any model whose units (experts, neurons, features) can be ablated.

    Args:
        heldout: the documents.
        sums: activity of the units of each place (a group of experts, a layer of neurons) on the choosing part.
        scores: (labels, units) for each place; -inf for a unit that is never ablated.
        measure: losses of the measuring part with these units of each place ablated.
        order: the name of the scores.
        numbers: of the labels whose units are ablated; all by default.
        thresholds, budget, min_tokens, seed: as for ``removal_curve``.
    """
    numbers = range(len(heldout.labels)) if numbers is None else numbers
    labels, documents = heldout.labels, heldout.measuring
    label_of = documents["label"].to_numpy()
    plain = measure([np.empty(0, np.int64)] * len(sums))
    baseline = plain.mean_loss(label_of)
    controls = list(CONTROLS)
    points: list[dict[str, Any]] = []
    losses: dict[str, Any] = {
        "doc": documents["doc"],
        "unit": documents["unit"],
        "label": np.array(labels)[label_of],
        "tokens": plain.tokens,
        "loss": plain.loss,
    }

    def add(kind: str, threshold: float) -> float:
        """Add a point for each label; returns the mean rise of the others."""
        for number in numbers:
            label = labels[number]
            rng = np.random.default_rng([seed, number, controls.index(kind) if kind in CONTROLS else 0])
            units = []
            for of_place, score in zip(sums, scores, strict=True):
                chosen = np.flatnonzero(score[number] >= threshold)
                if kind == RANDOM:
                    chosen = random_experts(of_place, len(chosen), rng)
                elif kind == ACTIVITY_MATCHED:
                    chosen = equally_active(of_place, chosen, rng)
                units.append(chosen)
            edited = measure(units) if any(map(len, units)) else plain
            rise = edited.mean_loss(label_of) - baseline
            point = {"threshold": threshold, "kind": kind, "label": label, "removed": sum(map(len, units))}
            points.append(point | {"target": rise[number], "others": np.delete(rise, number).mean()})
            losses[column(kind, threshold, label)] = edited.loss
        return float(np.mean([point["others"] for point in points[-len(numbers) :]]))

    tried = []
    for threshold in sorted(set(thresholds), reverse=True):
        tried.append(threshold)
        if add(CHOSEN, threshold) >= budget:
            break
    for kind in CONTROLS:
        for threshold in tried[-2:]:
            add(kind, threshold)
    return RemovalCurve(
        labels=list(labels),
        order=order,
        budget=budget,
        points=pd.DataFrame(points),
        documents=pd.DataFrame(losses),
        min_tokens=min_tokens,
        seed=seed,
        skipped=heldout.skipped,
    )
