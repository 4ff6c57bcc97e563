"""Which experts write a token, on average over all its occurrences in a run's documents.

1. Cut the documents into the context windows that the export read, and keep those that hold the token.
2. Run the model over each and read its state at every position in front of an occurrence.
3. Attribute the token's logit there, as ``workbench.analysis.attribute`` does for one prompt.
4. Average contributions over occurrences; an expert that is not active at one contributes 0 there.

Source: Park et al. 2024, section 3 (https://arxiv.org/abs/2412.04139), for what an expert writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from monet_model.record import record_pass

from ...errors import BadInputError, NotFoundError
from ...progress import job
from ..checks import check_same_model
from ..windows import Batch, read_windows
from .direct import Attribution, expert_parts, rest_parts
from .target import LinearTarget

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run


@dataclass(frozen=True)
class CorpusAttribution(Attribution):
    """Mean direct logit attribution of a token over the places where it comes next.

    Attributes:
        target: the token id.
        logit: mean logit of the token at the places before its occurrences.
        experts: one row per expert of a layer that is active at an occurrence, sorted by layer, then expert:

            - layer: the layer.
            - expert: flat expert id ``i * E + j``.
            - contribution: mean over all occurrences, 0 where it is not active.
            - active: number of occurrences where it is active.
        rest: component and mean contribution, as in ``Attribution``.
        label: the label whose documents were read, or None for all.
        occurrences: how many there are.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from workbench import open_run
        >>> from workbench.analysis import attribute_corpus
        >>> run = open_run("runs/demo")
        >>> model = MonetForCausalLM.from_pretrained(run.model_path)
        >>> (token,) = run.tokenizer().encode(" return", add_special_tokens=False)
        >>> top = attribute_corpus(run, model, token, label="lua").top(3)  # the experts that matter most for it
        >>> top.columns.tolist()
        ['layer', 'expert', 'contribution', 'active']
    """

    label: str | None
    occurrences: int

    def to_json(self, n: int = 50) -> dict[str, Any]:
        """As ``Attribution.to_json``, with label and occurrences."""
        return {"label": self.label, "occurrences": self.occurrences, **super().to_json(n)}


@torch.no_grad()
def attribute_corpus(
    run: Run, model: MonetForCausalLM, target: int, *, label: str | None = None, progress: bool = False
) -> CorpusAttribution:
    """Return the mean direct logit attribution of a token, wherever it comes next in the documents of a run.

    At each place, contributions are those of ``attribute`` in the context window that the run was exported with.
    The first token of a window is not predicted, so it does not count.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        target: the token id.
        label: read documents of this label only. Default: all documents.
        progress: show a progress bar.

    Returns:
        A ``CorpusAttribution``.

    Raises:
        NotFoundError: the run has no such label, or the token never comes next.
        BadInputError: the target is not one token id, or outside the vocabulary.
        UnsupportedError: another model than the run's.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from workbench import open_run
        >>> from workbench.analysis import attribute_corpus
        >>> run = open_run("runs/demo")
        >>> model = MonetForCausalLM.from_pretrained(run.model_path)
        >>> (token,) = run.tokenizer().encode(" return", add_special_tokens=False)
        >>> a = attribute_corpus(run, model, token, label="python")
        >>> a.experts.columns.tolist()
        ['layer', 'expert', 'contribution', 'active']
        >>> bool(a.completeness < 1e-4)
        True
        >>> int(a.experts["active"].max()) <= a.occurrences
        True
    """
    check_same_model(run, model)
    if label is not None:
        run.check_label(label)
    linear = LinearTarget.at(target, torch.zeros(model.config.vocab_size, device=model.device))
    if not isinstance(linear.target, int):
        raise BadInputError(f"attribution over a corpus takes one token id, got {target!r}.")
    documents = run.documents if label is None else run.documents[run.documents["label"] == label]
    sums = _Sums(model.config.num_hidden_layers, run.num_keys**2)
    windows = read_windows(run, documents)
    with job("attribute", windows.tokens, "tokens", progress) as advance:
        for batch in windows.batches:
            _add(sums, model, batch, linear)
            advance(int(batch.real.sum()))
    if not sums.occurrences:
        searched = run.path if label is None else f"the documents of {label!r} in {run.path}"
        raise NotFoundError(f"token {target} never comes next in {searched}.")
    return CorpusAttribution(
        target=target,
        logit=sums.logit / sums.occurrences,
        experts=sums.expert_table(),
        rest=pd.DataFrame({"component": sums.components, "contribution": sums.rest / sums.occurrences}),
        label=label,
        occurrences=sums.occurrences,
    )


class _Sums:
    """Contributions summed over occurrences."""

    def __init__(self, layers: int, experts: int) -> None:
        self.occurrences, self.logit = 0, 0.0
        self.contribution = np.zeros((layers, experts))
        self.active = np.zeros((layers, experts), np.int64)
        self.components: list[str] = []
        self.rest: NDArray[np.float64] = np.zeros(1)  # (components,) after the first batch

    def expert_table(self) -> pd.DataFrame:
        layer, expert = np.nonzero(self.active)
        return pd.DataFrame(
            {
                "layer": layer,
                "expert": expert,
                "contribution": self.contribution[layer, expert] / self.occurrences,
                "active": self.active[layer, expert],
            }
        )


def _add(sums: _Sums, model: MonetForCausalLM, batch: Batch, linear: LinearTarget) -> None:
    """Adds a batch's occurrences; windows without one are not read."""
    occurs = (batch.ids[:, 1:] == linear.target) & batch.predicted
    windows = occurs.any(1)
    if not windows.any():
        return
    ids = batch.ids[windows].to(model.device, non_blocking=True)
    window, position = (at.to(model.device, non_blocking=True) for at in occurs[windows].nonzero(as_tuple=True))
    where = window, position
    record, out = record_pass(model, partial(model, ids, use_cache=False))
    direction = linear.direction(model, record.final[where])
    sums.occurrences += len(direction)
    sums.logit += float(out.logits[where][:, linear.target].double().sum())
    for layer, _, expert, contribution in expert_parts(model, record, where, direction):
        sums.contribution[layer] += np.bincount(expert, contribution, sums.contribution.shape[1])
        sums.active[layer] += np.bincount(expert, minlength=sums.active.shape[1])
    sums.components, values = rest_parts(model, record, where, direction)
    sums.rest = sums.rest + values.sum(0).numpy(force=True)
