"""Permutation test of label preference: labels are shuffled among documents."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ...progress import Progress, silent
from .scores import SCORES, LabelCounts, LabelScore, scores_of_kind
from .shares import Floats, label_shares

if TYPE_CHECKING:
    from ..activations import CrossTable

FIRST_LOOK = 50  # permutations after which experts that are clearly like chance are let go
LET_GO = 10  # as many of them at least as far out
EXPERTS_AT_ONCE = 2048  # bounds memory
PERMUTATIONS_AT_ONCE = 25  # bounds memory
CELLS_AT_ONCE = 2**20  # of label, permutation and expert: bounds memory, and keeps them in the processor's cache
DENSE_LABELS = 32  # with more, sums by label are gathered from the cells that there are, not by multiplying matrices
ROUNDING = 1e-5  # relative; so that rounding does not make an equal score a smaller one


def label_scores(
    mass: Floats, tokens: Floats, label_tokens: Floats, names: Collection[str] | None = None
) -> dict[str, Floats]:
    """Every registered ``LabelScore`` of some experts, by name.

    Args:
        mass, tokens: (labels, ...) sums of routing scores and active tokens.
        label_tokens: (labels,) or (labels, ...) tokens of each label.
        names: of the scores; all by default.

    Returns:
        For each score, (...).
    """
    counts = LabelCounts(label_shares(mass, label_tokens), tokens, label_tokens)
    known = scores_of_kind(LabelScore)
    return {name: known[name].compute(counts) for name in (known if names is None else names)}


class LabelNull:
    """The labels of documents, and random permutations of them.

    Whole documents swap labels, so what makes an expert active again and again within a document, its topic or its
    repeated words, is in the null too. Shuffling the labels of single tokens would make nearly every expert
    significant.

    Args:
        label: (documents,) label number of each document.
        doc_tokens: (documents,) its tokens.
        labels: how many labels there are.
        permutations: how many.
        seed: of the permutations.
        scores: names of the scores to test; every ``LabelScore`` by default.
    """

    def __init__(
        self,
        label: NDArray[np.int64],
        doc_tokens: NDArray[np.int64],
        labels: int,
        permutations: int,
        seed: int,
        scores: Collection[str] | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.orders = np.stack(
            [label, *(rng.permutation(label) for _ in range(permutations))]
        )  # the first is the truth
        self.labels = labels
        self.one_hot: NDArray[np.float32] | None = None  # (orders, labels, documents)
        if labels <= DENSE_LABELS:
            self.one_hot = (self.orders[:, None] == np.arange(labels)[:, None]).astype(np.float32)
        sizes = [np.bincount(order, doc_tokens, labels) for order in self.orders]
        self.label_tokens = np.stack(sizes, axis=1).astype(np.float32)  # (labels, orders)
        self.permutations = permutations
        self.scores = list(scores_of_kind(LabelScore) if scores is None else scores)

    def p_values(
        self, table: CrossTable, experts: NDArray[np.int64], advance: Progress = silent
    ) -> dict[str, NDArray[np.float64]]:
        """How often permuted labels give an expert a score at least as extreme as the true labels do.

        ``p = (1 + r) / (1 + n)``, r of n permutations being at least as extreme (Phipson & Smyth 2010). An expert for
        which ``LET_GO`` or more of the first ``FIRST_LOOK`` are, for every score, gets no more permutations:
        its p is then above ``LET_GO`` / ``FIRST_LOOK``, so stopping there makes no p-value too small.

        Args:
            table: mass and active tokens by document.
            experts: (n,) ascending flat ids to test.
            advance: called with the number of experts done since its last call.

        Returns:
            For each score, (n,) p-values.
        """
        p = {name: np.ones(len(experts)) for name in self.scores}
        step = max(1, min(EXPERTS_AT_ONCE, CELLS_AT_ONCE // (self.labels * PERMUTATIONS_AT_ONCE)))
        for start in range(0, len(experts), step):
            block = experts[start : start + step]
            for name, values in self._block(table, block).items():
                p[name][start : start + step] = values
            advance(len(block))
        return p

    def _block(self, table: CrossTable, experts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        begin, end = np.searchsorted(table.expert, [experts[0], experts[-1] + 1])
        row = np.searchsorted(experts, table.expert[begin:end])
        known = experts[np.minimum(row, len(experts) - 1)] == table.expert[begin:end]
        document, mass, tokens = (column[begin:end][known] for column in (table.number, table.mass, table.tokens))
        cells = _Cells(row[known], document, mass, tokens, len(experts))
        true = self._scores(cells, 0, 1)
        exceeded = {name: np.zeros(len(experts), np.int64) for name in true}
        done = np.zeros(len(experts), np.int64)
        going = np.arange(len(experts))
        for first in range(1, self.permutations + 1, PERMUTATIONS_AT_ONCE):
            last = min(first + PERMUTATIONS_AT_ONCE, self.permutations + 1)
            for name, scores in self._scores(cells, first, last).items():
                exceeded[name][going] += self._as_extreme(name, scores, true[name][:, going]).sum(0)
            done[going] += last - first
            if first <= FIRST_LOOK < last:
                clear = np.min([exceeded[name][going] for name in true], axis=0) >= LET_GO
                going = going[~clear]
                if not len(going):
                    break
                cells = cells.only(~clear)
        return {name: (1 + exceeded[name]) / (1 + done) for name in true}

    @staticmethod
    def _as_extreme(name: str, scores: Floats, true: Floats) -> NDArray[np.bool_]:
        """Where permuted labels give at least as pure a score as the true labels."""
        higher = SCORES[name].higher_is_purer
        slack = ROUNDING if higher else -ROUNDING
        bound = true * np.where(true > 0, 1 - slack, 1 + slack).astype(true.dtype)
        return scores >= bound if higher else scores <= bound

    def _scores(self, cells: _Cells, first: int, last: int) -> dict[str, Floats]:
        """Scores under the label orders ``first`` to ``last``, each (orders, experts)."""
        shape = last - first, self.labels, 2, cells.experts
        if self.one_hot is not None:
            documents = self.one_hot.shape[-1]
            # By torch, which computes it with one thread in a pool's thread: NumPy's library would take as many as
            # there are cores, and round otherwise with another number.
            orders = torch.from_numpy(self.one_hot[first:last].reshape(-1, documents))
            by_label = (orders @ torch.from_numpy(cells.dense(documents).reshape(documents, -1))).numpy()
            by_label = by_label.reshape(shape)
        else:
            by_label = np.empty(shape, np.float32)
            order = np.arange(shape[0])[:, None]
            cell = ((order * self.labels + self.orders[first:last, cells.document]) * cells.experts + cells.row).ravel()
            for number, values in enumerate((cells.mass.astype(np.float64), cells.tokens.astype(np.float64))):
                sums = np.bincount(cell, np.tile(values, shape[0]), shape[0] * self.labels * cells.experts)
                by_label[:, :, number] = sums.reshape(shape[0], self.labels, cells.experts)
        mass, tokens = by_label.transpose(2, 1, 0, 3)
        return label_scores(mass, tokens, self.label_tokens[:, first:last, None], self.scores)


class _Cells:
    """What a block of experts did, by document: one cell for each expert and document where it was active."""

    def __init__(
        self,
        row: NDArray[np.int64],
        document: NDArray[np.int64],
        mass: NDArray[np.float32],
        tokens: NDArray[np.int64],
        experts: int,
    ) -> None:
        self.row, self.document, self.mass, self.tokens, self.experts = row, document, mass, tokens, experts
        self._dense: NDArray[np.float32] | None = None

    def dense(self, documents: int) -> NDArray[np.float32]:
        """(documents, 2, experts) mass and active tokens."""
        if self._dense is None:
            self._dense = np.zeros((documents, 2, self.experts), np.float32)
            self._dense[self.document, :, self.row] = np.stack([self.mass, self.tokens], axis=1)
        return self._dense

    def only(self, chosen: NDArray[np.bool_]) -> _Cells:
        """The cells of some of the experts."""
        row = np.cumsum(chosen) - 1
        kept = chosen[self.row]
        left = _Cells(row[self.row[kept]], self.document[kept], self.mass[kept], self.tokens[kept], int(chosen.sum()))
        if self._dense is not None:
            left._dense = np.take(self._dense, np.flatnonzero(chosen), axis=-1)
        return left
