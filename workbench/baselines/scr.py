"""Spurious correlation removal: whether ablating the units that carry a label frees a probe of it.

After SAEBench (Karvonen et al. 2025, arXiv 2503.09532) and SHIFT (Marks et al. 2024). A probe that is to tell one
concept is fitted where that goes with another, so it learns the other; the units that carry the other are ablated, and
the probe is measured where the two are unrelated. Here the probe is to tell which half of its document a text is, which
every label has, and what comes in between is the label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .tpp import COUNTS, SHARES, Floats, Probes, Written, balanced_accuracy


@dataclass(frozen=True)
class Pair:
    """Two labels, and probes on halves of their documents.

    Attributes:
        labels: their numbers.
        cells: (n,) numbers of the measuring cells of both.
        truth: (n,) whether each is a second half.
        biased: probe for second halves, fitted on first halves of the first label and second halves of the second.
        before, best: accuracy on ``cells`` of that probe, and of one fitted on all halves of both.
        spurious: probe for the second label.
    """

    labels: tuple[int, int]

    cells: NDArray[np.int64]
    truth: NDArray[np.bool_]
    biased: Probes
    before: float
    best: float
    spurious: Probes


def _one_probe(pooled: Tensor, truth: NDArray[np.bool_]) -> Probes:
    both = Probes.fit(pooled, truth.astype(np.int64))
    return Probes(both.weight[1:], both.bias[1:])


def _accuracy(logits: Floats, truth: NDArray[np.bool_]) -> float:
    return float(balanced_accuracy(logits[:, None], truth[:, None])[0])


def pairs_of_labels(pooled: Tensor, label: NDArray[np.integer], measures: NDArray[np.bool_]) -> list[Pair]:
    """Return each label with the next one, around.

    Args:
        pooled: (2 documents, hidden) mean streams of the halves of each document.
        label: (documents,) label numbers.
        measures: (documents,) which documents measure; probes are fitted on the others.
    """
    second = np.arange(len(pooled)) % 2 == 1
    label, measures = np.repeat(label, 2), np.repeat(measures, 2)
    labels = int(label.max()) + 1
    found = []
    for one in range(labels):
        other = (one + 1) % labels
        both = np.isin(label, [one, other])
        fits, tests, goes_with = both & ~measures, both & measures, second == (label == other)
        biased = _one_probe(pooled[torch.from_numpy(fits & goes_with)], second[fits & goes_with])
        fair = _one_probe(pooled[torch.from_numpy(fits)], second[fits])
        spurious = _one_probe(pooled[torch.from_numpy(fits)], (label == other)[fits])
        before, best = (_accuracy(_logits(probe, pooled)[tests], second[tests]) for probe in (biased, fair))
        found.append(Pair((one, other), np.flatnonzero(tests), second[tests], biased, before, best, spurious))
    return found


def _logits(probe: Probes, pooled: Tensor) -> Floats:
    found: Floats = (pooled.double() @ probe.weight.T + probe.bias).numpy()[:, 0]
    return found


def removal_of_spurious_correlation(
    pairs: list[Pair],
    pooled: Tensor,
    label: NDArray[np.integer],
    measures: NDArray[np.bool_],
    written: Callable[[Tensor], Written],
) -> list[dict[str, Any]]:
    """Return, by number of units ablated, which share of the accuracy that the bias cost comes back.

    A pair's units are ranked by how differently they raise the spurious probe's logit in both labels, on the documents
    that do not measure.

    Args:
        pairs: at least one.
        pooled, label, measures: as in ``pairs_of_labels``.
        written: gives what units write in the halves along directions (ways, hidden).

    Returns:
        One row per number of units: ``units``; ``accuracy``, mean over pairs, with them ablated; ``scr``, what of the
        mean gap between the biased and the best probes comes back, 1 where all does, negative where the ablation hurts.
    """
    ways = torch.cat([way for pair in pairs for way in (pair.biased.weight, pair.spurious.weight)])
    wrote = written(ways)
    label, fits = np.repeat(label, 2), ~np.repeat(measures, 2)
    by_pair = []
    for number, pair in enumerate(pairs):
        along_biased, along_spurious = (wrote.effect[:, 2 * number + place].astype(np.float64) for place in (0, 1))
        one, other = (fits & (label == of_pair) for of_pair in pair.labels)
        sign = other / other.sum() - one / one.sum()
        carried = np.abs(np.bincount(wrote.unit, along_spurious * sign[wrote.cell], wrote.units))
        ranks = np.empty(wrote.units, np.int64)
        ranks[np.argsort(-carried, kind="stable")] = np.arange(wrote.units)
        by_pair.append((pair, ranks, along_biased, _logits(pair.biased, pooled)))
    counts = sorted({*COUNTS, *(max(1, round(share * wrote.units)) for share in SHARES)})
    before, best = (float(np.mean([getattr(pair, name) for pair in pairs])) for name in ("before", "best"))
    rows = []
    for count in (count for count in counts if count <= wrote.units):
        accuracies = []
        for pair, ranks, along, logits in by_pair:
            gone = ranks[wrote.unit] < count
            left = (logits - np.bincount(wrote.cell[gone], along[gone], len(logits)))[pair.cells]
            accuracies.append(_accuracy(left, pair.truth))
        after = float(np.mean(accuracies))
        rows.append({"units": count, "accuracy": after, "scr": (after - before) / (best - before)})
    return rows
