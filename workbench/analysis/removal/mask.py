"""`monet mask`: drop the experts of one label, measure every label; the paper's Table 3 in loss and perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...errors import WorkbenchError
from ...progress import job
from ..checks import check_rule, check_same_model
from ..specialisation.shares import MIN_TOKENS, RATIO
from .choose import Ids, equally_active, random_experts, removal, specialists
from .heldout import HeldOut
from .losses import Losses, document_losses
from .mask_result import MaskResult, write_mask

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run


def mask_labels(
    run: Run,
    model: MonetForCausalLM,
    *,
    labels: Sequence[str] | None = None,
    ratio: float = RATIO,
    min_tokens: int = MIN_TOKENS,
    seed: int = 0,
    progress: bool = False,
) -> MaskResult:
    """Removes each label's specialised experts in turn and measures the loss of every label (paper, 5.2 and D.2).

    The run's documents are split in two (:func:`~workbench.analysis.removal.heldout.split_documents`). The rule of
    :func:`specialised_label` chooses experts by their routing over one part; losses are
    measured on the other. A removed expert scores 0 in every layer of its group; nothing is renormalised. Two controls
    remove as many experts of each group: drawn at random from those active in the choosing part, and from others about
    as active there (:func:`~workbench.analysis.removal.choose.equally_active`).

    A result for all labels is kept in ``RUN/analysis``, for :func:`read_mask`; one for some labels is only returned.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        labels: the labels to remove; all by default.
        ratio: first rate over second rate.
        min_tokens: active tokens, in the choosing part, that an expert needs to be chosen.
        seed: of the split and of the controls.
        progress: show tokens, rate and time left.

    Raises:
        WorkbenchError: an unknown label, a rule that makes no sense, a model of another shape, or a run with one label
            or fewer than two documents of a label.
    """
    check_rule(ratio, min_tokens)
    rows = list(run.labels if labels is None else dict.fromkeys(labels))
    for label in rows:
        if label not in run.labels:
            raise WorkbenchError(f"there is no label {label!r} in {run.path}; it has {', '.join(run.labels)}.")
    check_same_model(run, model)
    heldout = HeldOut.split(run, seed)
    windows = heldout.measuring_windows()
    sums = [heldout.choosing_sums(group) for group in run.groups]
    chosen = [specialists(some, ratio, min_tokens) for some in sums]
    removed, control, equal, counts = [], [], [], []
    with job("mask", windows.predicted * (1 + 3 * len(rows)), "tokens", progress) as advance:
        plain = document_losses(model, windows, {}, advance)

        def measure(experts: list[Ids]) -> Losses:
            edits = removal(run.group_layers, experts, run.num_keys)
            return document_losses(model, windows, edits, advance)

        for label in rows:
            number = run.labels.index(label)
            experts = [by_label[number] for by_label in chosen]
            counts.append([len(ids) for ids in experts])
            removed.append(measure(experts))
            rng = np.random.default_rng([seed, number])
            control.append(measure([random_experts(some, n, rng) for some, n in zip(sums, counts[-1], strict=True)]))
            equal.append(measure([equally_active(some, ids, rng) for some, ids in zip(sums, experts, strict=True)]))
    label_of = heldout.measuring["label"].to_numpy()
    columns = {"loss": plain.loss}
    columns |= {f"loss:{label}": losses.loss for label, losses in zip(rows, removed, strict=True)}
    columns |= {f"control:{label}": losses.loss for label, losses in zip(rows, control, strict=True)}
    columns |= {f"equal:{label}": losses.loss for label, losses in zip(rows, equal, strict=True)}
    baseline = plain.mean_loss(label_of)
    result = MaskResult(
        labels=list(run.labels),
        rows=rows,
        baseline=baseline,
        matrix=np.stack([losses.mean_loss(label_of) for losses in removed]) - baseline,
        control=np.stack([losses.mean_loss(label_of) for losses in control]) - baseline,
        equal=np.stack([losses.mean_loss(label_of) for losses in equal]) - baseline,
        baseline_accuracy=plain.accuracy(label_of),
        accuracy=np.stack([losses.accuracy(label_of) for losses in removed]),
        removed_by_group=counts,
        documents=pd.DataFrame(
            {"doc": heldout.measuring["doc"], "label": np.array(run.labels)[label_of], "tokens": plain.tokens} | columns
        ),
        ratio=ratio,
        min_tokens=min_tokens,
        seed=seed,
    )
    if rows == run.labels:
        write_mask(run, result)
    return result
