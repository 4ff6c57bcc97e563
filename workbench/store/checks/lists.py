"""Checking each token that is listed for an expert, best or sampled, against its own row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..routing import Side
from .float16 import ENDS, LEAST, SPREAD, bits
from .problem import Wrong, expect
from .statistics import ROUNDING, Experts, Listed

CELLS = 2**22  # of a table of probabilities: it stays in the cache


class Lists:
    """Checks a group's listed tokens as their rows are read.

    Args:
        experts: the group's statistics.
        listed: its best tokens (``examples``) and its sampled ones (``intervals``), by the name of the folder.
        heads, keys: how many there are.
        rounded: whether sampled tokens have scores of the stored half precision.
    """

    def __init__(self, experts: Experts, listed: dict[str, Listed], heads: int, keys: int, rounded: bool) -> None:
        self._experts, self._listed, self._heads, self._keys = experts, listed, heads, keys
        self._order = {folder: np.argsort(tokens.row) for folder, tokens in listed.items()}
        self._odd = dict.fromkeys(listed, "")  # of each, what is wrong with the first of its tokens that is
        # How far the score of a sampled token may be off: in proportion, and beside that.
        self._error, self._least_error = (SPREAD, heads * LEAST) if rounded else (0.0, 0.0)
        self._sampled = np.zeros_like(experts.tokens)  # tokens of each expert and label in the sample
        self._sampled_mass = np.zeros_like(experts.mass)

    def look_at_rows(self, row: int, token: NDArray[np.int32], label: NDArray[np.int64]) -> None:
        """Compare the listed tokens of consecutive rows, from ``row`` on, with these rows and each other."""
        found = {folder: self._found(folder, row, row + len(token)) for folder in self._listed}
        for folder, at in found.items():
            listed = self._listed[folder]
            if (listed.token[at] != token[listed.row[at] - row]).any():
                self._note(folder, "token ids do not match those of their rows")
        best, best_at = self._listed["examples"], found["examples"]
        sample, sample_at = self._listed["intervals"], found["intervals"]
        best_place = best.at[best_at] * len(token) + best.row[best_at]
        sample_place = sample.at[sample_at] * len(token) + sample.row[sample_at]
        _, one, other = np.intersect1d(best_place, sample_place, assume_unique=True, return_indices=True)
        exact, again = best.score[best_at[one]], sample.score[sample_at[other]]
        if (np.abs(exact - again) > self._error * exact + self._least_error).any():
            self._note("intervals", "scores differ from those of the same tokens in the examples")
        cell = sample.at[sample_at] * self._sampled.shape[1] + label[sample.row[sample_at] - row]
        self._sampled += np.bincount(cell, minlength=self._sampled.size).reshape(self._sampled.shape)
        mass = np.bincount(cell, sample.score[sample_at], self._sampled.size)
        self._sampled_mass += mass.reshape(self._sampled.shape)

    def look_at_routing(self, row: int, sides: Sequence[Side], kept: NDArray[np.bool_]) -> None:
        """Compare their scores with the routing of consecutive rows, where it is ``kept``."""
        cells = self._heads * self._keys
        step = max(1, CELLS // cells)
        for begin in range(0, len(kept), step):
            here = slice(begin, min(begin + step, len(kept)))
            tables = []
            for side in (side[here] for side in sides):
                table = np.zeros(len(side) * cells, np.uint16)
                table[np.repeat(np.arange(len(side)) * cells, np.diff(side.starts)) + side.keys] = bits(side)
                tables.append(table)
            for folder, listed in self._listed.items():
                found = self._found(folder, row + here.start, row + here.stop)
                local = listed.row[found] - row
                found, local = found[kept[local]], local[kept[local]] - begin
                expert = self._experts.expert[listed.at[found]]
                low, high = self._scores(tables, local * cells, expert)
                off = (listed.score[found] < low) | (listed.score[found] > high)
                if off.any():
                    at = found[off.argmax()]
                    score = f"{listed.score[at]:.4g} at row {listed.row[at]}"
                    self._note(
                        folder, f"expert {expert[off.argmax()]} has {folder} that contradict the routing: {score}"
                    )

    def check(self, folder: str) -> None:
        """Raises Wrong where a listed token is not what its row says."""
        expect(not self._odd[folder], self._odd[folder])

    def check_sums(self) -> None:
        """Raises Wrong where statistics are less than those of the sampled tokens, or more than those of all tokens."""
        experts = self._experts
        slack = (ROUNDING + self._least_error) * self._sampled + self._error * experts.mass
        few = self._sampled <= experts.tokens
        low = self._sampled_mass <= experts.mass + slack
        whole = (self._sampled.sum(1) == experts.tokens.sum(1))[:, None]  # all tokens are in the sample
        exact = ~whole | ((self._sampled == experts.tokens) & (self._sampled_mass >= experts.mass - slack))
        if len(wrong := np.flatnonzero(~(few & low & exact).all(1))):
            raise Wrong(f"expert {experts.expert[wrong[0]]} has statistics that contradict its sampled tokens")

    def _found(self, folder: str, begin: int, end: int) -> NDArray[np.int64]:
        """Places of the listed tokens of some rows."""
        order = self._order[folder]
        return order[slice(*np.searchsorted(self._listed[folder].row, [begin, end], sorter=order))]

    def _note(self, folder: str, sentence: str) -> None:
        self._odd[folder] = self._odd[folder] or sentence

    def _scores(
        self, tables: list[NDArray[Any]], first: NDArray[Any], expert: NDArray[Any]
    ) -> list[NDArray[np.float32]]:
        """Lower and upper end of each expert's score at a row whose cells begin at ``first``."""
        scores = [np.zeros(len(first), np.float32) for _ in ENDS]
        keys = np.divmod(expert, self._keys)
        for head in range(self._heads):
            held = [table[first + head * self._keys + key] for table, key in zip(tables, keys, strict=True)]
            for score, ends in zip(scores, ENDS, strict=True):
                score += ends[held[0]] * ends[held[1]]
        return scores
