"""Permutation test of label preference: labels are shuffled among documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
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
ROUNDING = 1e-5  # relative; so that rounding does not make an equal score a smaller one


def label_scores(mass: Floats, tokens: Floats, label_tokens: Floats) -> dict[str, Floats]:
    """Every registered ``LabelScore`` of some experts, by name.

    Args:
        mass, tokens: (labels, ...) sums of routing scores and active tokens.
        label_tokens: (labels,) or (labels, ...) tokens of each label.

    Returns:
        For each score, (...).
    """
    counts = LabelCounts(label_shares(mass, label_tokens), tokens, label_tokens)
    return {name: score.compute(counts) for name, score in scores_of_kind(LabelScore).items()}


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
    """

    def __init__(
        self, label: NDArray[np.int64], doc_tokens: NDArray[np.int64], labels: int, permutations: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        orders = np.stack([label, *(rng.permutation(label) for _ in range(permutations))])  # the first is the truth
        self.one_hot = (orders[:, None] == np.arange(labels)[:, None]).astype(np.float32)  # (orders, labels, documents)
        self.label_tokens = (self.one_hot @ doc_tokens.astype(np.float32)).T  # (labels, orders)
        self.permutations = permutations

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
            For each registered label score, (n,) p-values.
        """
        p = {name: np.ones(len(experts)) for name in scores_of_kind(LabelScore)}
        for start in range(0, len(experts), EXPERTS_AT_ONCE):
            block = experts[start : start + EXPERTS_AT_ONCE]
            for name, values in self._block(table, block).items():
                p[name][start : start + EXPERTS_AT_ONCE] = values
            advance(len(block))
        return p

    def _block(self, table: CrossTable, experts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        begin, end = np.searchsorted(table.expert, [experts[0], experts[-1] + 1])
        row = np.searchsorted(experts, table.expert[begin:end])
        known = experts[np.minimum(row, len(experts) - 1)] == table.expert[begin:end]
        dense = np.zeros((self.one_hot.shape[-1], 2, len(experts)), np.float32)  # by document: mass, tokens
        cell = table.number[begin:end][known], slice(None), row[known]
        dense[cell] = np.stack([table.mass[begin:end][known], table.tokens[begin:end][known]], axis=1)
        true = self._scores(dense, 0, 1)
        exceeded = {name: np.zeros(len(experts), np.int64) for name in true}
        done = np.zeros(len(experts), np.int64)
        going = np.arange(len(experts))
        for first in range(1, self.permutations + 1, PERMUTATIONS_AT_ONCE):
            last = min(first + PERMUTATIONS_AT_ONCE, self.permutations + 1)
            for name, scores in self._scores(dense, first, last).items():
                exceeded[name][going] += self._as_extreme(name, scores, true[name][:, going]).sum(0)
            done[going] += last - first
            if first <= FIRST_LOOK < last:
                clear = np.min([exceeded[name][going] for name in true], axis=0) >= LET_GO
                going = going[~clear]
                if not len(going):
                    break
                dense = np.take(dense, np.flatnonzero(~clear), axis=-1)
        return {name: (1 + exceeded[name]) / (1 + done) for name in true}

    @staticmethod
    def _as_extreme(name: str, scores: Floats, true: Floats) -> NDArray[np.bool_]:
        """Where permuted labels give at least as pure a score as the true labels."""
        higher = SCORES[name].higher_is_purer
        slack = ROUNDING if higher else -ROUNDING
        bound = true * np.where(true > 0, 1 - slack, 1 + slack).astype(true.dtype)
        return scores >= bound if higher else scores <= bound

    def _scores(self, dense: NDArray[np.float32], first: int, last: int) -> dict[str, Floats]:
        """Scores under the label orders ``first`` to ``last``, each (orders, experts)."""
        orders, labels, documents = self.one_hot[first:last].shape
        by_label = self.one_hot[first:last].reshape(-1, documents) @ dense.reshape(documents, -1)
        mass, tokens = by_label.reshape(orders, labels, 2, -1).transpose(2, 1, 0, 3)
        return label_scores(mass, tokens, self.label_tokens[:, first:last, None])
