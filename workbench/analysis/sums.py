"""Mass and active tokens of every expert by label, gathered from sparse routing over any choice of tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .activations import active_pairs

if TYPE_CHECKING:
    from cuda_ext.routing import Routing

LEFT_OUT = -1  # the label number of a token that does not count


@dataclass(frozen=True)
class LabelSums:
    """What every expert of a group did on some tokens, by label.

    Attributes:
        mass: (labels, E * E) float64 sums of routing scores.
        tokens: (labels, E * E) int64 active tokens.
        label_tokens: (labels,) int64 tokens of each label, active or not.
    """

    mass: NDArray[np.float64]
    tokens: NDArray[np.int64]
    label_tokens: NDArray[np.int64]


def label_sums(parts: Iterable[tuple[Routing, NDArray[np.integer]]], num_keys: int, labels: int) -> LabelSums:
    """Sums by label over pieces of routing.

    Args:
        parts: pieces of routing, each with the label number of its tokens; ``LEFT_OUT`` leaves a token out.
        num_keys: E.
        labels: how many labels there are.
    """
    experts = num_keys**2
    cells = labels * experts
    mass, tokens = np.zeros(cells), np.zeros(cells, np.int64)
    label_tokens = np.zeros(labels, np.int64)
    for routing, label in parts:
        label_tokens += np.bincount(label[label != LEFT_OUT], minlength=labels)
        for expert, token, score in active_pairs(routing):
            counted = label[token] != LEFT_OUT
            cell = label[token[counted]] * experts + expert[counted]
            mass += np.bincount(cell, score[counted], minlength=cells)
            tokens += np.bincount(cell, minlength=cells)
    return LabelSums(mass.reshape(labels, -1), tokens.reshape(labels, -1), label_tokens)


def smoothing(
    mass: NDArray[np.floating[Any]], tokens: NDArray[np.number[Any]], label_tokens: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return what to add to an expert's rate for every label, so that one seen little has no extreme preference.

    It is what one more active token of the expert's mean score would add to its rate (mass over tokens of the label)
    for a label of average size.

    Args:
        mass: (labels, experts) sums of routing scores.
        tokens: (labels, experts) active tokens.
        label_tokens: (labels,) tokens per label.

    Returns:
        (experts,); 0 for an expert that was never active.
    """
    return mass.sum(0) / np.maximum(tokens.sum(0), 1) / label_tokens.mean()
