"""Counting a group's statistics again from the stored routing.

A stored probability is in half precision and stands for all numbers that round to it. Everything is therefore counted
twice, from the lower end of each and from its upper end. No score, sum, or count of scores above a bound falls when a
probability rises, so what was written has to lie between the two counts; and no list of best scores, so none that was
written may be below that of the lower ends. (That it is not too high, the rows of its own tokens tell: see ``lists``.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cuda_ext import Statistics, accumulate
from cuda_ext.routing import Routing

from ..priority import priority
from ..routing import Side
from ..schema import HISTOGRAM_BINS, INTERVAL_EXAMPLES
from .float16 import ENDS, bits, highest
from .problem import Wrong
from .statistics import ROUNDING, Experts, Listed, is_sample_rounded

LAST = np.iinfo(np.int64).max  # a priority after all others


class Recount:
    """Counts one group's routing and compares it with what is written.

    Args:
        manifest: of the run.
        experts: the group's statistics.
        examples, intervals: its best tokens, and its sampled ones.
    """

    def __init__(self, manifest: dict[str, Any], experts: Experts, examples: Listed, intervals: Listed) -> None:
        self._heads, self._keys, settings = manifest["model"]["heads"], manifest["model"]["keys"], manifest["settings"]
        self._experts, self._examples, self._intervals = experts, examples, intervals
        # One place more than the longest list has, in which a token that is missing from it would stand.
        best = min(settings["examples"], int(np.bincount(examples.at).max()) + 1)
        each = min(settings["examples_per_document"], best)
        lists = {"best": best, "per_document": each, "sampled": INTERVAL_EXAMPLES}
        self._low, self._high = (
            Statistics.empty(self._keys, self._heads, len(manifest["labels"]), bins=HISTOGRAM_BINS, **kept)
            for kept in (lists, {"best": 1})  # a listed token's own row says how high its score is at most
        )
        self._rounded = is_sample_rounded(manifest)
        self._edges = np.array([*manifest["histogram"][1:-1], np.inf])
        self._other_rows = np.zeros(len(manifest["labels"]), np.int64)  # those whose routing is not kept, by label

    def take(
        self, row: int, sides: Sequence[Side], labels: NDArray[Any], starts: NDArray[Any], kept: NDArray[Any]
    ) -> None:
        """Count the routing of consecutive rows: their first number, label numbers, documents' first rows (-1 for
        tokens that no list may have), and which of them have routing."""
        rows = np.arange(row, row + len(kept))
        order = np.where(starts < 0, -1, priority(rows))
        self._other_rows += np.bincount(labels[~kept], minlength=len(self._other_rows))
        padded = []
        for side in sides:
            indices, held, counts = Side(side.keys, bits(side).astype(np.float32), side.starts).padded(
                self._heads, self._keys
            )
            padded.append((torch.from_numpy(indices), held.astype(np.uint16), torch.from_numpy(counts)))
        where = [torch.from_numpy(values) for values in (labels, rows, starts, order)]
        for statistics, ends in zip((self._low, self._high), ENDS, strict=True):
            arrays = [a for indices, held, counts in padded for a in (indices, torch.from_numpy(ends[held]), counts)]
            accumulate(statistics, Routing(*arrays, num_keys=self._keys), *where)  # type: ignore[misc, arg-type]

    def check_experts(self) -> None:
        """Raises Wrong where statistics are not those of the routing."""
        low, high, experts, seen = self._low, self._high, self._experts, self._experts.expert
        unseen = low.tokens.numpy().sum(1)
        unseen[seen] = 0
        if unseen.any():
            raise Wrong(f"expert {unseen.argmax()} is active in the routing and has no statistics")
        others = self._other_rows
        least, most = (s.tokens.numpy()[seen] for s in (low, high))
        self._within(experts.tokens, least, most + others, "active tokens")
        more = np.minimum(experts.tokens - least, others) * (experts.max[:, None].astype(np.float64) + ROUNDING)
        least, most = (s.masses.numpy()[seen] for s in (low, high))
        self._within(experts.mass, least, most + more, "mass")
        above, least, most = (
            counts[:, ::-1].cumsum(1)
            for counts in (experts.histogram, *(s.histogram.numpy()[seen] for s in (low, high)))
        )
        self._within(above, least, most + others.sum(), "histogram")

    def check_examples(self) -> None:
        """Raises Wrong where an expert has better tokens in the routing than those listed."""
        low, listed = self._low.best_scores.numpy()[self._experts.expert], self._examples
        score = np.zeros_like(low)
        place = np.arange(len(listed.at)) - np.searchsorted(listed.at, listed.at)
        score[listed.at, place] = listed.score
        self._within(score, low, np.inf, "examples")

    def check_intervals(self) -> None:
        """Raises Wrong where a token is missing that is surely in a bin, before one that is listed or as one of few."""

        low, scores = (t.numpy()[self._experts.expert] for t in (self._low.sample_priorities, self._low.sample_scores))
        listed = self._intervals
        cell = listed.at * HISTOGRAM_BINS + listed.bin
        place = np.arange(len(cell)) - np.searchsorted(cell, cell)
        there = np.full((low.shape[0] * HISTOGRAM_BINS, INTERVAL_EXAMPLES), LAST)
        there[cell, place] = priority(listed.row)
        there = there.reshape(low.shape)
        surely = (low >= 0) & (highest(scores, self._heads) < self._edges[:, None])
        missing = surely & (low[..., None] != there[..., None, :]).all(-1) & (low < there[..., -1:])
        if self._rounded:  # where rounding may have moved a token to another octave, it may have displaced this one
            moved = self._low.histogram.numpy() != self._high.histogram.numpy()
            missing &= ~moved[self._experts.expert][..., None]
        self._none(missing.any((1, 2)), "intervals")

    def _within(self, written: NDArray[Any], least: NDArray[Any], most: NDArray[Any] | float, what: str) -> None:
        self._none(np.any((written < least) | (written > most), axis=1), what)

    def _none(self, wrong: NDArray[np.bool_], what: str) -> None:
        """Raises Wrong, with the first expert that is wrong, if one is."""
        if wrong.any():
            raise Wrong(f"expert {self._experts.expert[wrong.argmax()]} has {what} that contradict the routing")
