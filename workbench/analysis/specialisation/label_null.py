"""Could chance have made an expert prefer a label? A permutation null over documents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...progress import Progress, silent
from ..activations import CrossTable
from .shares import Floats, advantage, class_selectivity, label_information, label_shares, monosemanticity

SCORES = ("ratio", "score", "selectivity", "information")
FIRST_LOOK = 50  # permutations after which experts that are clearly like chance are let go
LET_GO = 10  # as many of them at least as far out
BLOCK = 2048  # experts worked on at once
CHUNK = 25  # permutations worked on at once


def label_scores(mass: Floats, tokens: Floats, label_tokens: Floats) -> dict[str, Floats]:
    """The scores that compare labels, by their name in :data:`SCORES`, all larger where an expert prefers one label.

    Args:
        mass, tokens: (labels, ...) sums of routing scores and active tokens.
        label_tokens: (labels,) or (labels, ...) tokens of each label.
    """
    shares = label_shares(mass, label_tokens)
    return {
        "ratio": advantage(shares),
        "score": monosemanticity(shares),
        "selectivity": class_selectivity(shares),
        "information": label_information(tokens, label_tokens),
    }


class LabelNull:
    """The labels of documents, and as many random reorderings of them.

    Documents keep their text and only swap labels, so what makes an expert fire again and again within a document, its
    topic or its repeated words, is in the null too; tokens shuffled one by one would make nearly every expert
    significant.

    Args:
        label: (documents,) label number of each document.
        doc_tokens: (documents,) its tokens.
        labels: how many labels there are.
        permutations: reorderings.
        seed: of the reorderings.
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
        """How often a reordering takes an expert at least as far as the true labels do, by score.

        ``p = (1 + r) / (1 + n)``, r of n reorderings being at least as far out (Phipson & Smyth 2010). An expert for
        which :data:`LET_GO` or more of the first :data:`FIRST_LOOK` are, for every score, is let go with the p it has
        then: such a p is above :data:`LET_GO` / :data:`FIRST_LOOK`, so stopping there makes no p-value too small.

        Args:
            table: mass and active tokens by document.
            experts: (n,) ascending flat ids to test.
            advance: called with the number of experts done since its last call.

        Returns:
            For each of :data:`SCORES`, (n,) p-values.
        """
        found = {name: np.ones(len(experts)) for name in SCORES}
        for start in range(0, len(experts), BLOCK):
            block = experts[start : start + BLOCK]
            for name, p in self._block(table, block).items():
                found[name][start : start + BLOCK] = p
            advance(len(block))
        return found

    def _block(self, table: CrossTable, experts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        begin, end = np.searchsorted(table.expert, [experts[0], experts[-1] + 1])
        row = np.searchsorted(experts, table.expert[begin:end])
        known = experts[np.minimum(row, len(experts) - 1)] == table.expert[begin:end]
        dense = np.zeros((self.one_hot.shape[-1], 2, len(experts)), np.float32)  # by document: mass, tokens
        cell = table.number[begin:end][known], slice(None), row[known]
        dense[cell] = np.stack([table.mass[begin:end][known], table.tokens[begin:end][known]], axis=1)
        true = self._scores(dense, 0, 1)
        exceeded = {name: np.zeros(len(experts), np.int64) for name in SCORES}
        done = np.zeros(len(experts), np.int64)
        going = np.arange(len(experts))
        for first in range(1, self.permutations + 1, CHUNK):
            last = min(first + CHUNK, self.permutations + 1)
            for name, scores in self._scores(dense, first, last).items():
                far = true[name][:, going] * (1 - 1e-5)  # rounding must not make an equal case a smaller one
                exceeded[name][going] += (scores >= far).sum(0)
            done[going] += last - first
            if first <= FIRST_LOOK < last:
                clear = np.min([exceeded[name][going] for name in SCORES], axis=0) >= LET_GO
                going = going[~clear]
                if not len(going):
                    break
                dense = np.take(dense, np.flatnonzero(~clear), axis=-1)
        return {name: (1 + exceeded[name]) / (1 + done) for name in SCORES}

    def _scores(self, dense: NDArray[np.float32], first: int, last: int) -> dict[str, Floats]:
        """Scores under some of the orders, each (orders, experts)."""
        orders, labels, documents = self.one_hot[first:last].shape
        by_label = self.one_hot[first:last].reshape(-1, documents) @ dense.reshape(documents, -1)
        mass, tokens = by_label.reshape(orders, labels, 2, -1).transpose(2, 1, 0, 3)
        return label_scores(mass, tokens, self.label_tokens[:, first:last, None])
