"""Which experts write a token, over all its occurrences in a run's documents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from monet_model.record import record_pass

from ...errors import WorkbenchError
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
    """Means of the :class:`~workbench.analysis.Attribution` of a token over the places where it comes next.

    Attributes:
        target: the token id.
        logit: mean logit of the token at the places before its occurrences.
        experts: one row an expert of a layer that was active there: layer, expert, contribution (mean over all
            occurrences, 0 where it was not active) and active (occurrences where it was). Sorted by layer, then expert.
        rest: component and mean contribution.
        label: the label whose documents were read, or None for all.
        occurrences: how many there were.
    """

    label: str | None
    occurrences: int

    def to_json(self, n: int = 50) -> dict[str, Any]:
        """As :meth:`Attribution.to_json`, with the label and the occurrences."""
        return {"label": self.label, "occurrences": self.occurrences, **super().to_json(n)}


@torch.no_grad()
def attribute_corpus(
    run: Run, model: MonetForCausalLM, target: int, *, label: str | None = None, progress: bool = False
) -> CorpusAttribution:
    """Mean direct logit attribution of a token wherever it comes next in the documents of a run.

    At each place the contributions are those of :func:`workbench.analysis.attribute`, read in the context window that
    the run was exported with; the first token of a window is not predicted, so it does not count.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        target: the token id.
        label: read documents of this label only.
        progress: show tokens, rate and time left.

    Raises:
        WorkbenchError: an unknown label, a token outside the vocabulary or that never comes next, or another model.
    """
    check_same_model(run, model)
    if label is not None and label not in run.labels:
        raise WorkbenchError(f"there is no label {label!r} in {run.path}; it has {', '.join(run.labels)}.")
    linear = LinearTarget.read(target, torch.zeros(model.config.vocab_size, device=model.device))
    if not isinstance(linear.name, int):
        raise WorkbenchError(f"attribution over a corpus takes one token id, got {target!r}.")
    documents = run.documents if label is None else run.documents[run.documents["label"] == label]
    sums = _Sums(model.config.num_hidden_layers, run.num_keys**2)
    windows = read_windows(run, documents)
    with job("attribute", windows.tokens, "tokens", progress) as advance:
        for batch in windows.batches:
            _add(sums, model, batch, linear)
            advance(int(batch.real.sum()))
    if not sums.occurrences:
        where = run.path if label is None else f"the documents of {label!r} in {run.path}"
        raise WorkbenchError(f"token {target} never comes next in {where}.")
    return CorpusAttribution(
        target=target,
        logit=sums.logit / sums.occurrences,
        experts=sums.expert_table(),
        rest=pd.DataFrame({"component": sums.names, "contribution": sums.rest / sums.occurrences}),
        label=label,
        occurrences=sums.occurrences,
    )


class _Sums:
    """Contributions summed over occurrences."""

    def __init__(self, layers: int, experts: int) -> None:
        self.occurrences, self.logit = 0, 0.0
        self.contribution = np.zeros((layers, experts))
        self.active = np.zeros((layers, experts), np.int64)
        self.names: list[str] = []
        self.rest: Any = 0.0

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
    found = (batch.ids[:, 1:] == linear.name) & batch.real[:, 1:]
    windows = found.any(1)
    if not windows.any():
        return
    ids, places = batch.ids[windows].to(model.device), found[windows].nonzero(as_tuple=True)
    where = places[0].to(model.device), places[1].to(model.device)
    record, out = record_pass(model, partial(model, ids, use_cache=False))
    direction = linear.direction(model, record.final[where])
    sums.occurrences += len(direction)
    sums.logit += float(out.logits[where][:, linear.name].double().sum())
    for layer, (_, expert, contribution) in enumerate(expert_parts(model, record, where, direction)):
        sums.contribution[layer] += np.bincount(expert, contribution, sums.contribution.shape[1])
        sums.active[layer] += np.bincount(expert, minlength=sums.active.shape[1])
    sums.names, values = rest_parts(model, record, where, direction)
    sums.rest = sums.rest + values.sum(0).numpy(force=True)
