"""Targeted probe perturbation: whether ablating a label's units hurts its own probe and spares the others.

After Karvonen et al. 2025 (SAEBench, arXiv 2503.09532), where a unit is a feature of an autoencoder. Here it is any
part of a model that writes into the residual stream up to the middle layer, so that experts, neurons and features can
be
compared: probes read the stream's mean over a document; what an ablated unit writes is subtracted from that stream, and
everything else stays as it was.
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
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  # of all units ablated
COUNTS = (2, 5, 10, 20, 50, 100, 500)  # SAEBench's
RIDGE = 1e-3  # weight of the squared norm of a probe, on activations of unit variance


@dataclass(frozen=True)
class Probes:
    """One linear probe per label, for that label against the rest: positive where ``weight . x + bias > 0``.

    Attributes:
        weight: (labels, hidden).
        bias: (labels,).
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, pooled: Tensor, label: NDArray[np.integer]) -> Probes:
        """Fit logistic regressions with both classes weighted equally to ``pooled``, (documents, hidden)."""
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
        fitted = (weight / scale).detach()
        return cls(fitted, (bias - fitted @ mean.double()).detach())


@dataclass(frozen=True)
class Written:
    """What units write into the stream along the probes' directions, averaged over the tokens of each document.

    There is one row per unit and document in which it is active.

    Attributes:
        units: number of units.
        document: (n,) number of the document.
        unit: (n,) number of the unit.
        activation: (n,) mean absolute activation.
        effect: (n, labels) contribution to each probe's logit.
    """

    units: int
    document: NDArray[np.int64]
    unit: NDArray[np.int64]
    activation: NDArray[np.float32]
    effect: NDArray[np.float32]


@torch.inference_mode()
def pool(model: Any, windows: Windows, layer: int) -> Tensor:
    """Return the mean residual stream after a layer over the tokens of each document, (documents, hidden)."""
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
    """Return what neurons or features write along the probes."""
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
    """Return what the experts of the groups up to a layer write, over all layers of their group.

    The routing score is the activation.

    Args:
        model: a Monet model, one of whose routing groups ends with ``layer``.
        windows: the documents.
        probes: whose directions count.
        layer: the last layer that writes.
        advance: called with the tokens read since its last call.
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
            unique, where = np.unique(cell, return_inverse=True)
            columns = torch.cat([score[:, None], sum(parts)], 1).numpy() / tokens[document[token]][:, None]
            number.append(unique)
            values.append(np.stack([np.bincount(where, column, len(unique)) for column in columns.T], 1))
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
    """Return, by number of units ablated, the drop in accuracy of a label's own probe minus that of the others.

    As in SAEBench, a label's units are ranked by how much more they raise its probe's logit in the label's documents
    than in the rest; only units that are more active there count. On other documents, the top ``n`` are ablated, and
    the accuracy of every probe is measured again. SAEBench draws a balanced set per probe; here accuracy is the mean of
    the accuracies on the label's documents and on the rest, which needs no draw.

    Args:
        probes: fitted on the documents that do not measure.
        pooled: (documents, hidden) mean streams.
        label: (documents,) label numbers.
        measures: (documents,) which documents measure.
        written: what every unit writes in every document.

    Returns:
        One row per number of units:

        - units, share: units ablated, and as a fraction of all units.
        - own, others: mean drop in accuracy of the label's own probe, and of the other probes.
        - tpp: own minus others.
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
        drops = np.empty((labels, labels))
        for number, rank in enumerate(ranks):
            ablated = rank[unit] < count
            change = np.stack([np.bincount(document[ablated], e[ablated], len(logits)) for e in effect.T], 1)
            drops[number] = before - _accuracy(logits - change, truth)
        own = np.eye(labels, dtype=bool)
        scores = {"own": float(drops[own].mean()), "others": float(drops[~own].mean())}
        rows.append(
            {"units": count, "share": count / written.units} | scores | {"tpp": scores["own"] - scores["others"]}
        )
    return rows


def _ranks(number: int, label: NDArray[np.integer], measures: NDArray[np.bool_], written: Written) -> NDArray[np.int64]:
    """Rank of every unit for a label, (units,); units that are not ranked come last."""
    own, rest = ~measures & (label == number), ~measures & (label != number)
    means = []
    for values in (written.activation, written.effect[:, number]):
        in_own, in_rest = (
            np.bincount(written.unit, values * part[written.document] / part.sum(), written.units)
            for part in (own, rest)
        )
        means.append(in_own - in_rest)
    more_active, effect = means
    effect = np.where(more_active > 0, effect, 0.0)
    order = np.argsort(-effect, kind="stable")
    ranks = np.full(written.units, written.units + 1)
    useful = order[: int((effect > 0).sum())]
    ranks[useful] = np.arange(len(useful))
    return ranks


def _accuracy(logits: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Balanced accuracy of each probe: the mean over a label's documents and the rest, (labels,)."""
    right = (logits > 0) == truth
    return ((right & truth).sum(0) / truth.sum(0) + (right & ~truth).sum(0) / (~truth).sum(0)) / 2
