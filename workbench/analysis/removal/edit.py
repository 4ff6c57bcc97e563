"""Edits of a run's model: the ablation of a label's experts, and the effect of any edit on held-out loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ...errors import BadInputError, UnsupportedError
from ...progress import job
from ..checks import check_rule, check_same_model
from ..defaults import LEVEL, MIN_TOKENS, RATIO, SAMPLES
from .bootstrap import check_bootstrap, resampled_means
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
        labels: one row per label that has two documents or more. Columns:

            - ``label``: the label;
            - ``documents``, ``tokens``: measured documents, and predicted tokens in them;
            - ``loss``, ``edited_loss``: without and with the edit, nats per token;
            - ``rise``: their difference; ``low`` and ``high``: its bootstrap interval over documents;
            - ``perplexity``, ``edited_perplexity``: exp of the losses;
            - ``accuracy``, ``edited_accuracy``: fraction of tokens ranked first.

        documents: one row per measured document: ``doc``, ``unit`` (its first near copy, or itself), ``label``,
            ``tokens``, ``loss`` and ``edited_loss`` (sums over its predicted tokens, nats).
        level: of confidence of the intervals.
        samples, seed: of the bootstrap; ``seed`` also split the documents.
    """

    labels: pd.DataFrame
    documents: pd.DataFrame
    level: float
    samples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return all but the documents, in JSON types."""
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
    """Return the edit that ablates a label's specialised experts, as ``mask_labels`` does.

    Experts are chosen on the documents that neither ``mask_labels`` nor ``measure_edit`` measures on. Keeps
    nothing in the run.

    Args:
        run: an opened run.
        model: the model it was exported from.
        label: one of ``run.labels``.
        ratio: first label share over second, from which an expert is specialised; at least 1.
        min_tokens: active tokens, in the choosing part, that an expert needs to be chosen.
        seed: of the split of the documents.

    Returns:
        The edit, for ``model.edit_experts(edit)``, ``edit.save(file)`` or ``measure_edit``.

    Raises:
        NotFoundError: an unknown label.
        BadInputError: the label has no specialised experts or fewer than two documents; the rule makes no sense; fewer
            than two labels have two documents.
        UnsupportedError: the model is not the one the run was exported from.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import label_edit
        >>> from workbench.checkpoint import load_model
        >>> run, model = open_run("runs/demo"), load_model("monet_model/demo")
        >>> edit = label_edit(run, model, run.labels[0])
        >>> sorted(edit.matrices()) == sorted(run.group_layers)  # one matrix of factors per routing group
        True
    """
    from monet_model import ExpertEdit

    check_rule(ratio, min_tokens)
    run.check_label(label)
    check_same_model(run, model)
    heldout = HeldOut.split(run, seed)
    number = heldout.number(label)
    chosen = [specialists(heldout.choosing_sums(group), ratio, min_tokens)[number] for group in run.groups]
    if not sum(map(len, chosen)):
        raise BadInputError(f"no expert of {run.path} is specialised in {label!r} at a ratio of {ratio:g}.")
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
    """Return what an edit does to the loss of every label, on the documents that ``mask_labels`` measures on.

    Keeps nothing in the run.

    They are about a quarter of the run's documents, the same ones for the same seed, so an edit whose experts were
    chosen on the others is measured on text that had no part in it.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        edit: an edit of this model.
        level: of confidence of the percentile bootstrap over documents.
        samples: bootstrap draws.
        seed: of the split and of the bootstrap.
        progress: show tokens, rate and time left.

    Raises:
        BadInputError: fewer than two labels have two documents; level or samples out of range.
        UnsupportedError: the model is not the one the run was exported from, or the edit belongs to another model.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import label_edit, measure_edit
        >>> from workbench.checkpoint import load_model
        >>> run, model = open_run("runs/demo"), load_model("monet_model/demo")
        >>> label = run.labels[0]
        >>> effect = measure_edit(run, model, label_edit(run, model, label))
        >>> effect.labels.set_index("label")["rise"].idxmax() == label  # hurts the label it was made for most
        True
    """
    check_bootstrap(level, samples)
    check_same_model(run, model)
    try:
        edit.check(model)
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
    heldout = HeldOut.split(run, seed)
    windows, label_of = heldout.measuring_windows(), heldout.measuring["label"].to_numpy()
    with job("edit", windows.predicted * 2, "tokens", progress) as advance:
        before = document_losses(model, windows, {}, advance)
        after = document_losses(model, windows, edit.matrices(), advance)
    documents = pd.DataFrame(
        {
            "doc": heldout.measuring["doc"],
            "unit": heldout.measuring["unit"],
            "label": np.array(heldout.labels)[label_of],
            "tokens": before.tokens.astype(np.int64),
            "loss": before.loss,
            "edited_loss": after.loss,
        }
    )
    drawn = resampled_means(documents, ["loss", "edited_loss"], heldout.labels, samples, seed)
    low, high = np.quantile(drawn[:, 1] - drawn[:, 0], [(1 - level) / 2, (1 + level) / 2], axis=0)
    loss, edited = before.mean_loss(label_of), after.mean_loss(label_of)
    labels = pd.DataFrame(
        {
            "label": heldout.labels,
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
