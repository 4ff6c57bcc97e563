"""Which experts write a token, on average over all its occurrences in a run's documents.

1. Cut the documents into the context windows that the export read, and keep those that hold the token.
2. Run the model over each and read its state at every position in front of an occurrence.
3. Attribute the token's logit there, as ``workbench.analysis.attribute`` does for one prompt.
4. Average contributions over occurrences; an expert that is not active at one contributes 0 there.
5. Where a sample of the documents was read, say how far the means of all may lie from its own (spread.py).

Source: Park et al. 2024, section 3 (https://arxiv.org/abs/2412.04139), for what an expert writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from monet_model.record import record_pass

from ...errors import BadInputError, NotFoundError
from ...progress import job
from ...store.sample import Sample, draw
from ..checks import check_same_model
from ..units import LEVEL
from ..windows import Batch, read_windows
from .direct import Attribution, expert_parts, rest_parts
from .spread import Spread, whole_units
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
            - contribution_low, contribution_high: in a sample only, the ends of the mean's 95 % interval; NaN where
              the token occurs in a single document of it.
        rest: component and mean contribution, as in ``Attribution``; in a sample with both ends as well.
        label: the label whose documents were read, or None for all.
        occurrences: how many there are.
        drawn: which documents were read, where they were a sample.
        logit_interval: in a sample only, the ends of the mean logit's 95 % interval; NaN where the token occurs in a
            single document of it.

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
    drawn: Sample | None = None
    logit_interval: tuple[float, float] | None = None

    def to_json(self, n: int = 50) -> dict[str, Any]:
        """As ``Attribution.to_json``, with label and occurrences and, of a sample, which and the logit's interval."""
        found: dict[str, Any] = {"label": self.label, "occurrences": self.occurrences, **super().to_json(n)}
        if self.drawn is not None:
            found |= {"sample": self.drawn.to_json(), "logit_interval": self.logit_interval}
        return found


@torch.no_grad()
def attribute_corpus(
    run: Run,
    model: MonetForCausalLM,
    target: int,
    *,
    label: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> CorpusAttribution:
    """Return the mean direct logit attribution of a token, wherever it comes next in the documents of a run.

    At each place, contributions are those of ``attribute`` in the context window that the run was exported with.
    The first token of a window is not predicted, so it does not count.

    A sample's means estimate those of all documents. Their 95 % intervals take documents as the units, near copies as
    one (``spread``).

    Args:
        run: an opened run. Of one that ``Run.sample`` returned, the documents drawn are read, and intervals are of
            a corpus that has labels in that sample's mix.
        model: the model it was exported from, in evaluation mode.
        target: the token id.
        label: read documents of this label only. Default: all documents.
        sample: read so many documents for each label, drawn at random, and not all; of each label in proportion to its
            documents. With ``label``, so many of that one.
        seed: of the draw.
        progress: show a progress bar.

    Returns:
        A ``CorpusAttribution``.

    Raises:
        NotFoundError: the run has no such label, or the token never comes next.
        BadInputError: the target is not one token id, or outside the vocabulary, or ``sample`` is below 1.
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
        >>> few = attribute_corpus(run, model, token, label="python", sample=10)
        >>> few.drawn.documents <= 10
        True
    """
    check_same_model(run, model)
    if label is not None:
        run.check_label(label)
    linear = LinearTarget.at(target, torch.zeros(model.config.vocab_size, device=model.device))
    if not isinstance(linear.target, int):
        raise BadInputError(f"attribution over a corpus takes one token id, got {target!r}.")
    everything = run.documents if label is None else run.documents[run.documents["label"] == label]
    documents, drawn = everything, run.drawn
    if sample is not None:
        chosen, drawn = draw(everything, run.labels if label is None else [label], sample, seed, by_size=label is None)
        documents = everything[chosen]
    elif drawn is not None:
        documents = everything[everything["kept"]]
    sums = _Sums(model.config.num_hidden_layers, run.num_keys**2, sampled=drawn is not None)
    parts = [documents] if drawn is None else whole_units(documents)
    windows = [read_windows(run, part) for part in parts]
    with job("attribute", sum(one.tokens for one in windows), "tokens", progress) as advance:
        for part, read in zip(parts, windows, strict=True):
            units = None if drawn is None else torch.tensor(part["unit"].to_numpy())
            for batch in read.batches:
                _add(sums, model, batch, linear, units)
                advance(int(batch.real.sum()))
            sums.close()
    if not sums.occurrences:
        searched = run.path if label is None else f"the documents of {label!r} in {run.path}"
        few = "" if drawn is None else f", of which {len(documents):,} were read"
        raise NotFoundError(f"token {target} never comes next in {searched}{few}.")
    found = CorpusAttribution(
        target=target,
        logit=sums.logit / sums.occurrences,
        experts=sums.expert_table(),
        rest=pd.DataFrame({"component": sums.components, "contribution": sums.rest / sums.occurrences}),
        label=label,
        occurrences=sums.occurrences,
        drawn=drawn,
    )
    if sums.spread is None:
        return found
    return _with_intervals(found, sums.spread, 1 - len(documents) / int((everything["tokens"] > 0).sum()))


def _with_intervals(found: CorpusAttribution, spread: Spread, unread: float) -> CorpusAttribution:
    """What was found in a sample, with intervals; ``unread`` is the share of documents that were not drawn."""
    means = np.append(found.rest["contribution"].to_numpy(), found.logit)
    reach = LEVEL * spread.rest_error(means, found.occurrences, unread)
    layer, expert, mean = (found.experts[name].to_numpy() for name in ("layer", "expert", "contribution"))
    return replace(
        found,
        experts=_ends(found.experts, LEVEL * spread.expert_error(layer, expert, mean, found.occurrences, unread)),
        rest=_ends(found.rest, reach[:-1]),
        logit_interval=(float(found.logit - reach[-1]), float(found.logit + reach[-1])),
    )


def _ends(table: pd.DataFrame, reach: NDArray[np.float64]) -> pd.DataFrame:
    """A table with the ends of its contributions' intervals."""
    mean = table["contribution"]
    return table.assign(contribution_low=mean - reach, contribution_high=mean + reach)


class _Sums:
    """Contributions summed over occurrences and, of a sample, what their intervals are made from."""

    def __init__(self, layers: int, experts: int, sampled: bool) -> None:
        self.spread = Spread(layers, experts) if sampled else None
        self.occurrences, self.logit = 0, 0.0
        self.contribution = np.zeros((layers, experts))
        self.active = np.zeros((layers, experts), np.int64)
        self.components: list[str] = []
        self.rest: NDArray[np.float64] = np.zeros(1)  # (components,) after the first batch

    def close(self) -> None:
        """End a part of whole units."""
        if self.spread is not None:
            self.spread.close()

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


def _add(sums: _Sums, model: MonetForCausalLM, batch: Batch, linear: LinearTarget, units: Tensor | None) -> None:
    """Adds a batch's occurrences; windows without one are not read. ``units`` (documents,) are needed for a sample."""
    occurs = (batch.ids[:, 1:] == linear.target) & batch.predicted
    windows = occurs.any(1)
    if not windows.any():
        return
    ids = batch.ids[windows].to(model.device, non_blocking=True)
    places = occurs[windows].nonzero(as_tuple=True)
    window, position = (at.to(model.device, non_blocking=True) for at in places)
    where = window, position
    record, out = record_pass(model, partial(model, ids, use_cache=False))
    direction = linear.direction(model, record.final[where])
    logits = out.logits[where][:, linear.target].double()
    sums.occurrences += len(direction)
    sums.logit += float(logits.sum())
    unit = None if units is None else units[batch.document[windows][places[0]]].numpy()  # (occurrences,)
    for layer, place, expert, contribution in expert_parts(model, record, where, direction):
        sums.contribution[layer] += np.bincount(expert, contribution, sums.contribution.shape[1])
        sums.active[layer] += np.bincount(expert, minlength=sums.active.shape[1])
        if sums.spread is not None and unit is not None:
            sums.spread.hold(layer, unit[place], expert, contribution)
    sums.components, values = rest_parts(model, record, where, direction)
    sums.rest = sums.rest + values.sum(0).numpy(force=True)
    if sums.spread is not None and unit is not None:
        sums.spread.hold_rest(unit, torch.column_stack((values, logits)).numpy(force=True))
