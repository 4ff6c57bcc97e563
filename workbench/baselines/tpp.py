"""Targeted probe perturbation: whether ablating a label's units hurts its own probe and spares the others.

After Karvonen et al. 2025 (SAEBench, arXiv 2503.09532), where a unit is a feature of an autoencoder. Here it is any
part of a model that writes into the residual stream up to the middle layer, so that experts, neurons and features can
be
compared: probes read the stream's mean over a document; what an ablated unit writes is subtracted from that stream, and
everything else stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
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

    from ..analysis.windows import Batch, Windows
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
    """What units write into the stream along directions, averaged over the tokens of each cell.

    There is one row per unit and cell in which it is active.

    Attributes:
        units: number of units.
        cell: (n,) number of the cell.
        unit: (n,) number of the unit.
        activation: (n,) mean absolute activation.
        effect: (n, ways) what it adds along each direction: for a probe's, to its logit.
    """

    units: int
    cell: NDArray[np.int64]
    unit: NDArray[np.int64]
    activation: NDArray[np.float32]
    effect: NDArray[np.float32]


@dataclass(frozen=True)
class Cells:
    """What activity is averaged over: documents, or halves of them.

    Attributes:
        windows: the documents.
        halves: whether the first and the second half of a document's tokens are apart: cells 2 d and 2 d + 1 of
            document d.
    """

    windows: Windows
    halves: bool = False

    @property
    def number(self) -> int:
        """How many there are."""
        return self.windows.documents * (1 + self.halves)

    @cached_property
    def _halfway(self) -> Tensor:
        """(documents,) the token row that each document's second half begins at."""
        rows = torch.cat([batch.row.flatten() for batch in self.windows.batches])
        document = torch.cat([b.document[:, None].expand_as(b.row).flatten() for b in self.windows.batches])
        counted = rows >= 0
        first = torch.full((self.windows.documents,), int(rows.max()) + 1)
        first.scatter_reduce_(0, document[counted], rows[counted], "amin")
        tokens = torch.bincount(document[counted], minlength=self.windows.documents)
        return first + (tokens + 1) // 2

    def of(self, batch: Batch) -> Tensor:
        """(counted tokens,) the cell of each token of a batch that counts."""
        counted = batch.row >= 0
        document = batch.document[:, None].expand_as(counted)[counted]
        return 2 * document + (batch.row[counted] >= self._halfway[document]) if self.halves else document

    @cached_property
    def tokens(self) -> Tensor:
        """(cells,) float64 tokens that count."""
        return sum(
            (torch.bincount(self.of(batch), minlength=self.number) for batch in self.windows.batches),
            torch.zeros(self.number, dtype=torch.float64),
        )


@torch.inference_mode()
def pool(model: Any, cells: Cells, layer: int) -> Tensor:
    """Return the mean residual stream after a layer over the tokens of each cell, (cells, hidden)."""
    sums = torch.zeros(cells.number, model.config.hidden_size, dtype=torch.float64)
    seen: list[Tensor] = []

    def record(_module: Any, _args: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    hook = model.model.layers[layer].register_forward_hook(record)  # transformers' last hidden state is normalised
    try:
        for batch in cells.windows.batches:
            model.model(batch.ids, use_cache=False)
            sums.index_add_(0, cells.of(batch), seen.pop()[batch.row >= 0].double())
    finally:
        hook.remove()
    return sums / cells.tokens[:, None]


@torch.inference_mode()
def written_by_units(units: Units, cells: Cells, ways: Tensor, layer: int, advance: Progress = silent) -> Written:
    """Return what neurons or features up to a layer write along directions of the stream, (ways, hidden)."""
    directions = units.directions(layer)
    sizes = [size for size, way in zip(units.sizes, directions, strict=True) if way is not None]
    mean, absolute = torch.zeros(2, cells.number, sum(sizes))
    for batch in cells.windows.batches:
        kept = [a for a, way in zip(units.activations(batch.ids), directions, strict=True) if way is not None]
        values, cell = torch.cat(kept, -1)[batch.row >= 0], cells.of(batch)
        mean.index_add_(0, cell, values)
        absolute.index_add_(0, cell, values.abs())
        advance(int(batch.real.sum()))
    tokens = cells.tokens.float()
    along = torch.cat([way for way in directions if way is not None]) @ ways.T.float()  # (units, ways)
    cell, unit = absolute.nonzero(as_tuple=True)
    activation = absolute[cell, unit] / tokens[cell]
    effect = (mean[cell, unit] / tokens[cell])[:, None] * along[unit]
    return Written(sum(sizes), cell.numpy(), unit.numpy(), activation.numpy(), effect.numpy())


@torch.inference_mode()
def written_by_experts(
    model: MonetForCausalLM, cells: Cells, ways: Tensor, layer: int, advance: Progress = silent
) -> Written:
    """Return what the experts of the groups up to a layer write, over all layers of their group.

    The routing score is the activation.

    Args:
        model: a Monet model, one of whose routing groups ends with ``layer``.
        cells: of the documents.
        ways: (ways, hidden) directions of the stream.
        layer: the last layer that writes.
        advance: called with the tokens read since its last call.
    """
    experts = model.config.moe_experts**2
    groups = [group for group in model.config.routing_groups if group[-1] <= layer]
    number, values = [np.zeros(0, np.int64)], [np.zeros((0, 1 + len(ways)), np.float32)]
    tokens = cells.tokens.numpy()
    for batch in cells.windows.batches:
        record, _ = record_pass(model, partial(model, batch.ids, use_cache=False))
        counted, cell = batch.row >= 0, cells.of(batch).numpy()
        for place, group in enumerate(groups):
            parts: list[Any] = []
            for at in group:
                seen = record.layers[at]
                x, routing = seen.x[counted], seen.routing_at(counted)
                moe = model.model.layers[at].moe
                along = [
                    expert_contributions(moe, x, routing, way.to(seen.x.dtype).expand(len(cell), -1)) for way in ways
                ]
                parts.append(torch.stack([contribution for _, _, contribution in along], 1))
            token, expert, _ = along[0]
            score = _scores(*routing.dense(), token, expert)
            place_of = (cell[token] * len(groups) + place) * experts + expert.numpy()
            unique, where = np.unique(place_of, return_inverse=True)
            columns = torch.cat([score[:, None], sum(parts)], 1).numpy() / tokens[cell[token]][:, None]
            number.append(unique)
            values.append(np.stack([np.bincount(where, column, len(unique)) for column in columns.T], 1))
        advance(int(batch.real.sum()))
    places, where = np.unique(np.concatenate(number), return_inverse=True)
    stacked = np.concatenate(values)
    sums = np.stack([np.bincount(where, column, len(places)) for column in stacked.T], 1).astype(np.float32)
    cell, unit = np.divmod(places, len(groups) * experts)
    return Written(len(groups) * experts, cell, unit, sums[:, 0], sums[:, 1:])


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
    before = balanced_accuracy(logits, truth)
    counts = {*COUNTS, *(max(1, round(share * written.units)) for share in SHARES)}
    ranks = [rank_units(number, label, measures, written)[0] for number in range(labels)]
    rows = []
    for count in sorted(count for count in counts if count <= written.units):
        drops = np.empty((labels, labels))
        for number, rank in enumerate(ranks):
            change = removed_effect(rank < count, measures, written)
            drops[number] = before - balanced_accuracy(logits - change, truth)
        own = np.eye(labels, dtype=bool)
        scores = {"own": float(drops[own].mean()), "others": float(drops[~own].mean())}
        rows.append(
            {"units": count, "share": count / written.units} | scores | {"tpp": scores["own"] - scores["others"]}
        )
    return rows


def removed_effect(removed: NDArray[np.bool_], measures: NDArray[np.bool_], written: Written) -> Floats:
    """What some units (units,) write along the probes in the measuring documents, (measuring documents, labels)."""
    place = np.cumsum(measures) - 1
    here = measures[written.cell] & removed[written.unit]
    cell, effect = place[written.cell[here]], written.effect[here].astype(np.float64)
    return np.stack([np.bincount(cell, e, int(measures.sum())) for e in effect.T], 1)


def rank_units(
    number: int, label: NDArray[np.integer], measures: NDArray[np.bool_], written: Written
) -> tuple[NDArray[np.int64], Floats]:
    """Rank every unit for a label.

    Returns:
        The rank of every unit, (units,), where units that are not ranked come last; and of those that are, in order,
        how much more they raise the label's probe in its documents than in the rest.
    """
    own, rest = ~measures & (label == number), ~measures & (label != number)

    def difference(values: NDArray[np.float32]) -> Floats:
        in_own, in_rest = (
            np.bincount(written.unit, values.astype(np.float64) * part[written.cell], written.units) / part.sum()
            for part in (own, rest)
        )
        found: Floats = in_own - in_rest
        return found

    more_active, raised = difference(written.activation), difference(written.effect[:, number])
    effect: Floats = np.where(more_active > 0, raised, 0.0)
    order = np.argsort(-effect, kind="stable")
    ranks = np.full(written.units, written.units + 1, np.int64)
    useful = order[: int((effect > 0).sum())]
    ranks[useful] = np.arange(len(useful))
    return ranks, effect[useful]


def balanced_accuracy(logits: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Balanced accuracy of each probe: the mean over a label's documents and the rest, (labels,)."""
    right = (logits > 0) == truth
    return ((right & truth).sum(0) / truth.sum(0) + (right & ~truth).sum(0) / (~truth).sum(0)) / 2
