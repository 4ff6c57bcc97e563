"""Passages: short pieces of a run's documents, with the tokens highlighted at which an expert fires."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..store.token_text import joined

if TYPE_CHECKING:
    from ..store import Run

PASSAGE_TOKENS = 32  # as many as Delphi's contexts have


@dataclass(frozen=True)
class Passage:
    """Consecutive tokens of a document, some of them highlighted.

    Attributes:
        pieces: the text of each token.
        marked: (tokens,) True for highlighted tokens: those where an expert fires, or is claimed to.

    Examples:
        >>> import numpy as np
        >>> from workbench.explain import Passage
        >>> passage = Passage(["def", " f", "(", "x", ")"], np.array([False, True, True, False, True]))
        >>> passage.marked_text
        'def« f(»x«)»'
        >>> passage.marked_tokens
        'f( )'
    """

    pieces: list[str]
    marked: NDArray[np.bool_]

    @property
    def text(self) -> str:
        """The text without highlights."""
        return joined(self.pieces)

    @property
    def marked_text(self) -> str:
        """The text with « » around each run of highlighted tokens."""
        return "".join(f"«{text}»" if marked else text for marked, text in self._spans())

    @property
    def marked_tokens(self) -> str:
        """The highlighted runs of tokens alone, separated by spaces."""
        return " ".join(text.strip() for marked, text in self._spans() if marked)

    def _spans(self) -> list[tuple[bool, str]]:
        both = zip(self.marked.tolist(), self.pieces, strict=True)
        spans = groupby(both, key=lambda pair: pair[0])
        return [(marked, joined(piece for _, piece in span)) for marked, span in spans]


def read_passages(run: Run, starts: NDArray[np.int64], active: NDArray[np.bool_]) -> list[Passage]:
    """Return the passages that begin at token rows ``starts``; ``active`` (token rows of the run,) is highlighted."""
    rows = starts[:, None] + np.arange(PASSAGE_TOKENS)
    pieces = run.row_text(rows.ravel())
    return [
        Passage(pieces[number * PASSAGE_TOKENS : (number + 1) * PASSAGE_TOKENS], active[row])
        for number, row in enumerate(rows)
    ]


def centred_starts(run: Run, activations: pd.DataFrame) -> NDArray[np.int64]:
    """Return the first token rows of passages around active tokens of documents that are ``long_enough``."""
    documents = run.documents.iloc[activations["doc"]]
    first = documents["row"].to_numpy()
    last = first + documents["tokens"].to_numpy() - PASSAGE_TOKENS
    starts: NDArray[np.int64] = np.clip(activations["row"].to_numpy() - PASSAGE_TOKENS // 2, first, last)
    return starts


def long_enough(run: Run) -> NDArray[np.bool_]:
    """(documents,) True for those that hold a passage."""
    enough: NDArray[np.bool_] = run.documents["tokens"].to_numpy() >= PASSAGE_TOKENS
    return enough


def active_tokens(run: Run, activations: pd.DataFrame) -> NDArray[np.bool_]:
    """(token rows,) True where an expert is active, from ``run.activations``."""
    active = np.zeros(run.tokens_total, bool)
    active[activations["row"]] = True
    return active


def sample_passages(
    run: Run, activations: pd.DataFrame, among: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> tuple[list[Passage], list[Passage]]:
    """Return passages at ``sample_starts``, with the expert's active tokens highlighted: active ones and negatives."""
    active = active_tokens(run, activations)
    positives, negatives = sample_starts(run, activations, among, count, rng)
    return read_passages(run, positives, active), read_passages(run, negatives, active)


def sample_starts(
    run: Run, activations: pd.DataFrame, among: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first token rows of passages where an expert is active, and of negatives, where it is active at no
    token; one per document.

    The active ones are around one random active token per document; of these, ``count`` that cover the range of scores
    evenly are kept, lowest first. Delphi samples by quantile too, so that an explanation of the strongest tokens alone
    does not pass for one of the whole expert (https://arxiv.org/abs/2410.13928, section 3). Negatives are random.

    Args:
        run: an opened run.
        activations: ``run.activations`` of the expert.
        among: (documents,) True for the documents to sample from.
        count: passages of each kind, at most.
        rng: random generator.
    """
    usable = among & long_enough(run)
    active = active_tokens(run, activations)
    within = activations[usable[activations["doc"]]]
    one_each = within.iloc[rng.permutation(len(within))].drop_duplicates("doc").sort_values(["score", "row"])
    even = np.unique(np.linspace(0, len(one_each) - 1, min(count, len(one_each))).round().astype(np.int64))
    positives = centred_starts(run, one_each.iloc[even])

    before = np.concatenate([[0], np.cumsum(active)])  # active tokens in front of each row
    doc = np.repeat(np.arange(len(run.documents)), run.documents["tokens"])
    start = np.arange(max(len(active) - PASSAGE_TOKENS + 1, 0))
    in_one_document = doc[start] == doc[start + PASSAGE_TOKENS - 1]
    nowhere_active = before[start + PASSAGE_TOKENS] == before[start]
    shuffled = rng.permutation(start[in_one_document & usable[doc[start]] & nowhere_active])
    _, first = np.unique(doc[shuffled], return_index=True)
    return positives, shuffled[np.sort(first)][:count]
