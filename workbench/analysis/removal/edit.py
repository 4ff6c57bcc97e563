"""Edits of a run's model: the removal of a label's experts, and what any edit does to every label's held-out loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ...errors import WorkbenchError
from ...progress import job
from ..checks import check_rule, check_same_model
from ..specialisation.shares import MIN_TOKENS, RATIO
from .bootstrap import LEVEL, SAMPLES, resampled_means
from .choose import specialists
from .heldout import HeldOut
from .losses import document_losses

if TYPE_CHECKING:
    from monet_model import ExpertEdit, MonetForCausalLM

    from ...store import Run


@dataclass(frozen=True)
class EditEffect:
    """Held-out losses of a model with and without an edit.

    Attributes:
        labels: one row a label: documents, tokens (predicted), loss and edited_loss (nats a token), rise, low and high
            (its bootstrap interval over documents), perplexity and edited_perplexity, accuracy and edited_accuracy
            (share of tokens ranked first).
        documents: one row a measured document: doc, label, tokens, loss and edited_loss (sums, nats).
        level: of the intervals.
        samples, seed: of the bootstrap; ``seed`` also split the documents.
    """

    labels: pd.DataFrame
    documents: pd.DataFrame
    level: float
    samples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without the documents."""
        return {
            "level": self.level,
            "samples": self.samples,
            "seed": self.seed,
            "labels": self.labels.to_dict("records"),
        }


def label_edit(
    run: Run,
    model: MonetForCausalLM,
    label: str,
    *,
    ratio: float = RATIO,
    min_tokens: int = MIN_TOKENS,
    seed: int = 0,
) -> ExpertEdit:
    """The removal of a label's specialised experts, as :func:`~workbench.analysis.mask_labels` removes them.

    Experts are chosen on the documents that neither it nor :func:`measure_edit` measures on.

    Args:
        run: an opened run.
        model: the model it was exported from.
        label: one of ``run.labels``.
        ratio: first rate over second rate.
        min_tokens: active tokens, in the choosing part, that an expert needs to be chosen.
        seed: of the split of the documents.

    Raises:
        WorkbenchError: an unknown label, or one without specialised experts; a rule that makes no sense; another model;
            a run with one label, or fewer than two documents of a label.
    """
    from monet_model import ExpertEdit

    check_rule(ratio, min_tokens)
    if label not in run.labels:
        raise WorkbenchError(f"there is no label {label!r} in {run.path}; it has {', '.join(run.labels)}.")
    check_same_model(run, model)
    heldout, number = HeldOut.split(run, seed), run.labels.index(label)
    chosen = [specialists(heldout.choosing_sums(group), ratio, min_tokens)[number] for group in run.groups]
    if not sum(map(len, chosen)):
        raise WorkbenchError(f"no expert of {run.path} is specialised in {label!r} at a ratio of {ratio:g}.")
    return ExpertEdit.from_experts(model, dict(zip(run.group_layers, map(torch.from_numpy, chosen), strict=True)))


def measure_edit(
    run: Run,
    model: MonetForCausalLM,
    edit: ExpertEdit,
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: bool = False,
) -> EditEffect:
    """Measures an edit on the documents of a run that :func:`~workbench.analysis.mask_labels` measures on.

    They are about a quarter of the run's documents, the same ones for the same seed, so an edit whose experts were
    chosen on the others is measured on text that had no part in it.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        edit: an edit of this model.
        level, samples: of the percentile bootstrap over documents.
        seed: of the split and of the bootstrap.
        progress: show tokens, rate and time left.

    Raises:
        WorkbenchError: the edit belongs to another model; or the run has one label, or a label of fewer than two
            documents.
    """
    try:
        edit.check(model)
    except ValueError as error:
        raise WorkbenchError(str(error)) from error
    heldout = HeldOut.split(run, seed)
    windows, label_of = heldout.measuring_windows(), heldout.measuring["label"].to_numpy()
    with job("edit", windows.predicted * 2, "tokens", progress) as advance:
        before = document_losses(model, windows, {}, advance)
        after = document_losses(model, windows, edit.matrices(), advance)
    documents = pd.DataFrame(
        {
            "doc": heldout.measuring["doc"],
            "label": np.array(run.labels)[label_of],
            "tokens": before.tokens.astype(np.int64),
            "loss": before.loss,
            "edited_loss": after.loss,
        }
    )
    drawn = resampled_means(documents, ["loss", "edited_loss"], run.labels, samples, seed)
    low, high = np.quantile(drawn[:, 1] - drawn[:, 0], [(1 - level) / 2, (1 + level) / 2], axis=0)
    loss, edited = before.mean_loss(label_of), after.mean_loss(label_of)
    labels = pd.DataFrame(
        {
            "label": run.labels,
            "documents": np.bincount(label_of),
            "tokens": np.bincount(label_of, before.tokens).astype(np.int64),
            "loss": loss,
            "edited_loss": edited,
            "rise": edited - loss,
            "low": low,
            "high": high,
            "perplexity": np.exp(loss),
            "edited_perplexity": np.exp(edited),
            "accuracy": before.accuracy(label_of),
            "edited_accuracy": after.accuracy(label_of),
        }
    )
    return EditEffect(labels, documents, level, samples, seed)
