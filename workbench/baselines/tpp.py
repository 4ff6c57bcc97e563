"""Targeted probe perturbation: how far a label's units can be taken out of what a probe reads without the others'.

After Karvonen et al. 2025 (SAEBench, arXiv 2503.09532), where a unit is a feature of an autoencoder. Here it is any
part of a model that writes into the residual stream behind the middle layer, so that experts, neurons and features have
one number: probes read the stream's mean over a document; a removed unit's own writing is taken out of that stream,
everything else is left as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monet_model.record import record_pass

from ..analysis.attribution.contributions import expert_contributions
from ..progress import Progress, silent

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..analysis.windows import Windows
    from .units import Units

Floats = NDArray[np.float64]
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  # of all units
COUNTS = (2, 5, 10, 20, 50, 100, 500)  # SAEBench's
RIDGE = 1e-3  # weight of the squared norm of a probe, on activations of unit variance


@dataclass(frozen=True)
class Probes:
    """A linear probe a label, one label against the rest: it says yes where ``weight . x + bias > 0``.

    Attributes:
        weight: (labels, hidden).
        bias: (labels,).
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, pooled: Tensor, label: NDArray[np.integer]) -> Probes:
        """Logistic regression with both classes weighted alike; ``pooled`` (documents, hidden)."""
        mean, scale = pooled.mean(0), pooled.var(0, correction=0).mean().sqrt()
        x = ((pooled - mean) / scale).double()
        truth = torch.from_numpy(label[:, None] == np.arange(label.max() + 1)).double()  # (documents, labels)
        balance = truth / truth.sum(0) / 2 + (1 - truth) / (1 - truth).sum(0) / 2
        weight = torch.zeros(truth.shape[1], x.shape[1], dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(truth.shape[1], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=500, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            logits = x @ weight.T + bias
            value = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, balance, reduction="sum")
            value = value + RIDGE * weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        found = (weight / scale).detach()
        return cls(found, (bias - found @ mean.double()).detach())


@dataclass(frozen=True)
class Written:
    """What units wrote into the stream along the probes' directions, means over the tokens of a document.

    Rows of units that were not active in a document are left out.

    Attributes:
        units: how many units there are.
        document, unit: (n,) numbers.
        activation: (n,) mean size of the activation.
        effect: (n, labels) part of each probe's logit.
    """

    units: int
    document: NDArray[np.int64]
    unit: NDArray[np.int64]
    activation: NDArray[np.float32]
    effect: NDArray[np.float32]


@torch.inference_mode()
def pool(model: Any, windows: Windows, layer: int) -> Tensor:
    """Mean residual stream behind a layer over the tokens of each document, (documents, hidden)."""
    sums = torch.zeros(windows.documents, model.config.hidden_size, dtype=torch.float64)
    for batch in windows.batches:
        hidden = model.model(batch.ids, use_cache=False, output_hidden_states=True).hidden_states[layer + 1]
        sums.index_add_(0, batch.document, (hidden * (batch.row >= 0)[..., None]).sum(1).double())
    return sums / _tokens(windows)[:, None]


def _tokens(windows: Windows) -> Tensor:
    tokens = torch.zeros(windows.documents, dtype=torch.float64)
    for batch in windows.batches:
        tokens.index_add_(0, batch.document, (batch.row >= 0).sum(1).double())
    return tokens


@torch.inference_mode()
def written_by_units(units: Units, windows: Windows, probes: Probes, advance: Progress = silent) -> Written:
    """What neurons or features wrote."""
    directions = units.directions()
    sizes = [size for size, way in zip(units.sizes, directions, strict=True) if way is not None]
    mean, absolute = torch.zeros(2, windows.documents, sum(sizes))
    for batch in windows.batches:
        counted = (batch.row >= 0)[..., None]
        kept = [a for a, way in zip(units.activations(batch.ids), directions, strict=True) if way is not None]
        values = torch.cat(kept, -1) * counted
        mean.index_add_(0, batch.document, values.sum(1))
        absolute.index_add_(0, batch.document, values.abs().sum(1))
        advance(int(batch.real.sum()))
    tokens = _tokens(windows).float()
    along = torch.cat([way for way in directions if way is not None]) @ probes.weight.T.float()  # (units, labels)
    document, unit = absolute.nonzero(as_tuple=True)
    activation = absolute[document, unit] / tokens[document]
    effect = (mean[document, unit] / tokens[document])[:, None] * along[unit]
    return Written(sum(sizes), document.numpy(), unit.numpy(), activation.numpy(), effect.numpy())


@torch.inference_mode()
def written_by_experts(
    model: MonetForCausalLM, windows: Windows, probes: Probes, layer: int, advance: Progress = silent
) -> Written:
    """What the experts of the groups up to a layer wrote, over the layers of their group; a score is the activation.

    Args:
        model: a Monet one of whose routing groups ends with ``layer``.
        windows, probes, report: as for :func:`written_by_units`.
        layer: the last layer that writes.
    """
    experts = model.config.moe_experts**2
    groups = [group for group in model.config.routing_groups if group[-1] <= layer]
    number, values = [np.zeros(0, np.int64)], [np.zeros((0, 1 + len(probes.weight)), np.float32)]
    tokens = _tokens(windows).numpy()
    for batch in windows.batches:
        record, _ = record_pass(model, partial(model, batch.ids, use_cache=False))
        counted = batch.row >= 0
        document = batch.document[:, None].expand_as(counted)[counted].numpy()
        for place, group in enumerate(groups):
            parts: list[Any] = []
            for at in group:
                seen = record.layers[at]
                x, routing = seen.x[counted], seen.routing_at(counted)
                moe = model.model.layers[at].moe
                along = [
                    expert_contributions(moe, x, routing, way.to(seen.x.dtype).expand(len(document), -1))
                    for way in probes.weight
                ]
                parts.append(torch.stack([contribution for _, _, contribution in along], 1))
            token, expert, _ = along[0]
            score = _scores(*routing.dense(), token, expert)
            cell = (document[token] * len(groups) + place) * experts + expert.numpy()
            some, where = np.unique(cell, return_inverse=True)
            columns = torch.cat([score[:, None], sum(parts)], 1).numpy() / tokens[document[token]][:, None]
            number.append(some)
            values.append(np.stack([np.bincount(where, column, len(some)) for column in columns.T], 1))
        advance(int(batch.real.sum()))
    cells, where = np.unique(np.concatenate(number), return_inverse=True)
    stacked = np.concatenate(values)
    sums = np.stack([np.bincount(where, column, len(cells)) for column in stacked.T], 1).astype(np.float32)
    document, unit = np.divmod(cells, len(groups) * experts)
    return Written(len(groups) * experts, document, unit, sums[:, 0], sums[:, 1:])


def _scores(g1: Tensor, g2: Tensor, token: Tensor, expert: Tensor) -> Tensor:
    """Scores (n,) of experts at tokens, for dense routing (tokens, heads, keys)."""
    keys = g1.shape[-1]
    return (g1[token, :, expert // keys] * g2[token, :, expert % keys]).sum(-1)


def targeted_probe_perturbation(
    probes: Probes, pooled: Tensor, label: NDArray[np.integer], measures: NDArray[np.bool_], written: Written
) -> list[dict[str, Any]]:
    """The score by how many units are removed: the fall of a label's own probe less that of the others', in accuracy.

    A label's units are ranked, as SAEBench does, by how much more they push its probe in the label's documents than in
    the rest, counting those alone that are more active there. On documents that had no part in this or in the probes,
    the top ``n`` are removed, and every probe's accuracy is measured anew. SAEBench draws a balanced set for each
    probe; here accuracy is the mean of those on the label's documents and on the rest, which needs no draw.

    Args:
        probes: fitted on the documents that do not measure.
        pooled: (documents, hidden) mean streams.
        label: (documents,) label numbers.
        measures: (documents,) which documents measure.
        written: what every unit wrote in every document.

    Returns:
        A row a number of units: units, share (of all units), own and others (mean falls), and tpp, their difference.
    """
    labels = len(probes.weight)
    logits = (pooled.double() @ probes.weight.T + probes.bias).numpy()[measures]  # (documents, labels)
    truth = label[measures][:, None] == np.arange(labels)
    before = _accuracy(logits, truth)
    counts = {*COUNTS, *(max(1, round(share * written.units)) for share in SHARES)}
    ranks = [_ranks(number, label, measures, written) for number in range(labels)]
    place = np.cumsum(measures) - 1  # of each measuring document
    measured = measures[written.document]
    document, unit = place[written.document[measured]], written.unit[measured]
    effect = written.effect[measured].astype(np.float64)
    rows = []
    for count in sorted(count for count in counts if count <= written.units):
        falls = np.empty((labels, labels))
        for number, rank in enumerate(ranks):
            gone = rank[unit] < count
            change = np.stack([np.bincount(document[gone], e[gone], len(logits)) for e in effect.T], 1)
            falls[number] = before - _accuracy(logits - change, truth)
        own = np.eye(labels, dtype=bool)
        scores = {"own": float(falls[own].mean()), "others": float(falls[~own].mean())}
        rows.append(
            {"units": count, "share": count / written.units} | scores | {"tpp": scores["own"] - scores["others"]}
        )
    return rows


def _ranks(number: int, label: NDArray[np.integer], measures: NDArray[np.bool_], written: Written) -> NDArray[np.int64]:
    """Place of every unit in a label's order, (units,); one that has no place is behind all."""
    mine, rest = ~measures & (label == number), ~measures & (label != number)
    means = []
    for values in (written.activation, written.effect[:, number]):
        in_mine, in_rest = (
            np.bincount(written.unit, values * some[written.document] / some.sum(), written.units)
            for some in (mine, rest)
        )
        means.append(in_mine - in_rest)
    more_active, push = means
    push = np.where(more_active > 0, push, 0.0)
    order = np.argsort(-push, kind="stable")
    ranks = np.full(written.units, written.units + 1)
    useful = order[: int((push > 0).sum())]
    ranks[useful] = np.arange(len(useful))
    return ranks


def _accuracy(logits: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Mean of the accuracies on a label's documents and on the rest, (labels,)."""
    right = (logits > 0) == truth
    return ((right & truth).sum(0) / truth.sum(0) + (right & ~truth).sum(0) / (~truth).sum(0)) / 2
