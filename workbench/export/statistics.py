"""Statistics of all experts of a group, gathered from sparse routing by label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..store.routing import Side
from ..store.schema import HISTOGRAM_BINS

MAX_PAIRS = 2**22  # active pairs worked on at once: bounds memory
SCORE_BITS = 32


@dataclass(frozen=True)
class Activations:
    """Every active (expert, token) of some consecutive tokens once, sorted by expert, then token.

    Attributes:
        expert: (n,) flat ids.
        token: (n,) index of the token, from 0.
        score: (n,) float32 scores, summed over heads.
    """

    expert: NDArray[np.int64]
    token: NDArray[np.int64]
    score: NDArray[np.float32]


def activations(side1: Side, side2: Side, heads: int, num_keys: int) -> Iterator[tuple[int, Activations]]:
    """Active pairs of tokens in bounded pieces: (first token of the piece, its activations).

    A pair's expert, token and score are packed into the bits of one integer, so that one sort of integers brings
    experts together and a token's heads with them.
    """
    token_bits = 63 - SCORE_BITS - (num_keys**2 - 1).bit_length()
    counts1, counts2 = _per_head(side1, heads, num_keys), _per_head(side2, heads, num_keys)
    pairs = np.cumsum((counts1 * counts2).sum(1))  # up to and with each token
    begin = 0
    while begin < len(pairs):
        done = pairs[begin - 1] if begin else 0
        end = int(np.searchsorted(pairs, done + MAX_PAIRS, side="right"))
        end = max(begin + 1, min(end, begin + (1 << token_bits)))
        part = slice(begin, end)
        yield begin, _merge(side1[part], side2[part], counts1[part], counts2[part], num_keys, token_bits)
        begin = end


def _per_head(side: Side, heads: int, num_keys: int) -> NDArray[np.int64]:
    """Active entries of each token and head, (tokens, heads)."""
    cell = np.repeat(np.arange(len(side)) * heads, np.diff(side.starts)) + side.keys // num_keys
    return np.bincount(cell, minlength=len(side) * heads).reshape(len(side), heads)


def _merge(
    side1: Side,
    side2: Side,
    counts1: NDArray[np.int64],
    counts2: NDArray[np.int64],
    num_keys: int,
    token_bits: int,
) -> Activations:
    lists1, lists2 = counts1.ravel(), counts2.ravel()  # a list is a token's head
    partners = np.repeat(lists2, lists1)  # for each entry of side 1, the entries of side 2 it pairs with
    total = int(partners.sum())
    token = np.repeat(np.arange(len(side1)), np.diff(side1.starts))
    at1 = ((side1.keys % num_keys).astype(np.int64) * num_keys << token_bits) + token
    at2 = (side2.keys % num_keys).astype(np.int64) << token_bits
    first2 = np.repeat(np.cumsum(lists2) - lists2, lists1)
    right = np.arange(total) + np.repeat(first2 - (np.cumsum(partners) - partners), partners)
    score = np.repeat(side1.probs, partners) * side2.probs[right]
    packed = np.repeat(at1, partners) + at2[right]
    packed = np.sort((packed << SCORE_BITS) | score.view(np.uint32))  # scores are positive, so their bits are ordered
    score = (packed & (2**SCORE_BITS - 1)).astype(np.uint32).view(np.float32)
    place = packed >> SCORE_BITS
    if not score.all():  # products that underflow are not active
        place, score = place[score > 0], score[score > 0]
    fresh = np.ones(len(place), bool)
    np.not_equal(place[1:], place[:-1], out=fresh[1:])
    if not fresh.all():
        starts = np.flatnonzero(fresh)
        place, score = place[starts], np.add.reduceat(score, starts)
    return Activations(place >> token_bits, place & ((1 << token_bits) - 1), score)


def histogram_bin(score: NDArray[np.float32], heads: int) -> NDArray[np.int64]:
    """The bin of each score, after :func:`workbench.store.schema.histogram_edges`, from its exponent bits."""
    exponent = (score.view(np.uint32) >> 23).astype(np.int64) - 127
    return np.clip(exponent - (heads - 1).bit_length() + HISTOGRAM_BINS, 0, HISTOGRAM_BINS - 1)


class Statistics:
    """Accumulated statistics of a group's E * E experts.

    Attributes:
        tokens: (E * E, labels) active tokens.
        mass: (E * E, labels) sum of scores, in float64.
        maximum: (E * E,) highest score.
        histogram: (E * E, bins) active tokens by score.
    """

    def __init__(self, num_keys: int, labels: int, heads: int) -> None:
        experts = num_keys**2
        self.heads = heads
        self.tokens = np.zeros((experts, labels), np.int64)
        self.mass = np.zeros((experts, labels))
        self.maximum = np.zeros(experts, np.float32)
        self.histogram = np.zeros((experts, HISTOGRAM_BINS), np.int64)

    def arrays(self) -> dict[str, NDArray]:
        """The accumulators by name."""
        return {name: getattr(self, name) for name in ("tokens", "mass", "maximum", "histogram")}

    def add(self, found: Activations, labels: NDArray[np.int32]) -> None:
        """Count activations; ``labels`` is the label number of each token that ``found.token`` refers to."""
        if not len(found.expert):
            return
        cell = found.expert * self.tokens.shape[1] + labels[found.token]
        np.add.at(self.tokens.reshape(-1), cell, 1)
        np.add.at(self.mass.reshape(-1), cell, found.score.astype(np.float64))
        bins = found.expert * HISTOGRAM_BINS + histogram_bin(found.score, self.heads)
        np.add.at(self.histogram.reshape(-1), bins, 1)
        starts = np.flatnonzero(np.diff(found.expert, prepend=-1))
        seen = found.expert[starts]
        self.maximum[seen] = np.maximum(self.maximum[seen], np.maximum.reduceat(found.score, starts))

    def merge(self, other: Statistics) -> None:
        """Add what another part of the corpus gave."""
        self.tokens += other.tokens
        self.mass += other.mass
        np.maximum(self.maximum, other.maximum, out=self.maximum)
        self.histogram += other.histogram
