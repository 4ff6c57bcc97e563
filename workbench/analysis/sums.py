"""Mass and active tokens of every expert by label, gathered from sparse routing over any choice of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, silent
from .activations import ROUTING_ROWS, active_pairs, key_edges, routing_within
from .work import Arrays, Computing, State, opened_again, run_tasks

if TYPE_CHECKING:
    from cuda_ext.routing import Routing

    from ..store import Run
    from ..store.remote import Place
    from ..store.sample import Sample

LEFT_OUT = -1  # the label number of a token that does not count
RANGE_PAIRS = 2**26  # active pairs of a range of experts that is summed at a time
RANGES = 16  # of a group at most: each reads the routing of all tokens


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


def label_sums(
    parts: Iterable[tuple[Routing, NDArray[np.integer]]], num_keys: int, labels: int, within: range | None = None
) -> LabelSums:
    """Sums by label over pieces of routing.

    Args:
        parts: pieces of routing, each with the label number of its tokens; ``LEFT_OUT`` leaves a token out.
        num_keys: E.
        labels: how many labels there are.
        within: flat ids of the only experts in the routing, in place of all; the sums are of these.
    """
    first, experts = (0, num_keys**2) if within is None else (within.start, len(within))
    cells = labels * experts
    mass, tokens = np.zeros(cells), np.zeros(cells, np.int64)
    label_tokens = np.zeros(labels, np.int64)
    for routing, label in parts:
        label_tokens += np.bincount(label[label != LEFT_OUT], minlength=labels)
        for expert, token, score in active_pairs(routing):
            counted = label[token] != LEFT_OUT
            cell = label[token[counted]] * experts + expert[counted] - first
            mass += np.bincount(cell, score[counted], minlength=cells)
            tokens += np.bincount(cell, minlength=cells)
    return LabelSums(mass.reshape(labels, -1), tokens.reshape(labels, -1), label_tokens)


@dataclass(frozen=True)
class KeyRange:
    """The experts (i, j) of a group with i in a range of keys of set 1: a task.

    Attributes:
        group: their group.
        first: first key, and the one after the last.
        size: tokens to read.
    """

    group: int
    first: tuple[int, int]
    size: int


class DocumentSums:
    """Computes mass and active tokens by label of a range of experts; threads may share it, and workers get a copy.

    Args:
        run: an opened run, or a sample of one.
        number: (documents,) number of a label for each document of the run; ``LEFT_OUT`` for one that does not count,
            as no document does whose routing is not kept.
        labels: how many labels there are.
    """

    def __init__(self, run: Run, number: NDArray[np.int64], labels: int) -> None:
        self._run, self._number, self._labels = run, number, labels
        documents, self._of = run.documents, number
        if run.drawn is not None:  # the rows of the run's other documents are not even passed over
            documents, self._of = documents[number != LEFT_OUT], number[number != LEFT_OUT]
        self._first, tokens = (documents[name].to_numpy(np.int64) for name in ("row", "tokens"))
        self._ends = np.cumsum(tokens)
        self._begins = self._ends - tokens
        self.tokens = int(self._ends[-1]) if len(self._ends) else 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self._run.path, self._run.drawn, self._number, self._labels)

    def ranges(self, group: int) -> list[KeyRange]:
        """The experts of a group, in ranges that do not depend on how many threads there are."""
        edges = key_edges(self._run, group, RANGE_PAIRS, RANGES)
        return [KeyRange(group, first, self.tokens) for first in pairwise(edges)]

    def __call__(self, task: KeyRange, advance: Progress = silent) -> Arrays:
        """mass and tokens of the range's experts: (labels, experts) each; label_tokens: (labels,)."""
        keys, (low, high) = self._run.num_keys, task.first

        def parts() -> Iterator[tuple[Routing, NDArray[np.int64]]]:
            for rows, number in self._pieces(advance):
                yield routing_within(self._run, rows, task.group, task.first), number

        sums = label_sums(parts(), keys, self._labels, range(low * keys, high * keys))
        return {"mass": sums.mass, "tokens": sums.tokens, "label_tokens": sums.label_tokens}

    def _pieces(self, advance: Progress) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Token rows that count and the numbers of their labels, a few thousand at a time."""
        for start in range(0, self.tokens, ROUTING_ROWS):
            end = min(start + ROUTING_ROWS, self.tokens)
            docs = np.arange(
                np.searchsorted(self._ends, start, side="right"), np.searchsorted(self._begins, end, side="left")
            )
            docs = docs[self._of[docs] != LEFT_OUT]
            begin, stop = np.maximum(self._begins[docs], start), np.minimum(self._ends[docs], end)
            count = stop - begin
            at = self._first[docs] + begin - self._begins[docs]
            rows = np.repeat(at - np.cumsum(count) + count, count) + np.arange(count.sum())
            if len(rows):
                yield rows, np.repeat(self._of[docs], count)
            advance(end - start)


def _opened(path: Place, drawn: Sample | None, number: NDArray[np.int64], labels: int) -> DocumentSums:
    return DocumentSums(opened_again(path, drawn), number, labels)


def read_label_sums(
    run: Run,
    groups: Iterable[int],
    number: NDArray[np.int64],
    labels: int,
    title: str,
    progress: bool = False,
    state: State | None = None,
    **computing: Unpack[Computing],
) -> Iterator[tuple[int, LabelSums]]:
    """Yield each group and the sums of its experts by label, over documents whose routing is stored.

    Args:
        run: an opened run, or a sample of one.
        groups: numbers of groups.
        number, labels: as for ``DocumentSums``.
        title, progress: of the progress shown.
        state: keeps what is finished.
        computing: where, as for ``run_tasks``.
    """
    of_documents = DocumentSums(run, number, labels)
    tasks = [task for group in groups for task in of_documents.ranges(group)]
    pieces: list[Arrays] = []
    for task, found in run_tasks(tasks, of_documents, state, title, "tokens", progress, **computing):
        pieces.append(found)
        if task.first[1] == run.num_keys:  # the last of its group
            mass, tokens = (np.concatenate([piece[name] for piece in pieces], 1) for name in ("mass", "tokens"))
            yield task.group, LabelSums(mass, tokens, pieces[0]["label_tokens"])
            pieces = []


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
