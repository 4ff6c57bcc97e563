"""Passages: short pieces of a run's documents, with the tokens marked at which an expert fires."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..store import Run

WIDTH = 32  # tokens, as Delphi's contexts have


@dataclass(frozen=True)
class Passage:
    """Consecutive tokens of a document.

    Attributes:
        pieces: the text of each token.
        marked: (tokens,) those that are marked: where an expert fires, or is said to.
    """

    pieces: list[str]
    marked: NDArray[np.bool_]

    @property
    def text(self) -> str:
        """The text without marks."""
        return "".join(self.pieces)

    @property
    def marked_text(self) -> str:
        """The text with «» around each run of marked tokens."""
        return "".join(f"«{text}»" if marked else text for marked, text in self._runs())

    @property
    def marked_tokens(self) -> str:
        """The marked runs of tokens alone, with a space between them."""
        return " ".join(text.strip() for marked, text in self._runs() if marked)

    def _runs(self) -> list[tuple[bool, str]]:
        both = zip(self.marked.tolist(), self.pieces, strict=True)
        return [(marked, "".join(piece for _, piece in run)) for marked, run in groupby(both, key=lambda pair: pair[0])]


def read_passages(run: Run, starts: NDArray[np.int64], active: NDArray[np.bool_]) -> list[Passage]:
    """The passages that begin at token rows ``starts``, marked as the tokens of the run are, (token rows,)."""
    rows = starts[:, None] + np.arange(WIDTH)
    pieces = run.token_text(run.tokens(rows.ravel())["token"].to_numpy())
    return [Passage(pieces[number * WIDTH : (number + 1) * WIDTH], active[row]) for number, row in enumerate(rows)]


def centred(run: Run, activations: pd.DataFrame) -> NDArray[np.int64]:
    """Where passages around active tokens begin; their documents have :data:`WIDTH` tokens or more."""
    documents = run.documents.iloc[activations["doc"]]
    first = documents["row"].to_numpy()
    last = first + documents["tokens"].to_numpy() - WIDTH
    return np.clip(activations["row"].to_numpy() - WIDTH // 2, first, last)


def long_enough(run: Run) -> NDArray[np.bool_]:
    """(documents,) those that hold a passage."""
    return run.documents["tokens"].to_numpy() >= WIDTH


def active_tokens(run: Run, activations: pd.DataFrame) -> NDArray[np.bool_]:
    """(token rows,) where an expert is active, of what ``run.activations`` gives."""
    active = np.zeros(run.tokens_total, bool)
    active[activations["row"]] = True
    return active


def sample_passages(
    run: Run, activations: pd.DataFrame, among: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> tuple[list[Passage], list[Passage]]:
    """Passages where an expert is active and passages where it nowhere is, each at most one a document.

    The active ones are around a random active token of each document, and of these ``count`` that cover the range of
    scores evenly, in rising order: Delphi samples by quantile, so that an explanation of the strongest tokens alone
    does not pass for one of the whole expert (arXiv 2410.13928, section 3). The others are at random.

    Args:
        run: the run.
        activations: of the expert, as ``run.activations`` gives them.
        among: (documents,) those to sample from.
        count: of each kind, at most.
        rng: the source of chance.
    """
    usable = among & long_enough(run)
    active = active_tokens(run, activations)
    here = activations[usable[activations["doc"]]]
    one_each = here.iloc[rng.permutation(len(here))].drop_duplicates("doc").sort_values(["score", "row"])
    even = np.unique(np.linspace(0, len(one_each) - 1, min(count, len(one_each))).round().astype(np.int64))
    on = centred(run, one_each.iloc[even])

    before = np.concatenate([[0], np.cumsum(active)])
    doc = np.repeat(np.arange(len(run.documents)), run.documents["tokens"])
    start = np.arange(max(len(active) - WIDTH + 1, 0))
    within = doc[start] == doc[start + WIDTH - 1]
    silent = start[within & usable[doc[start]] & (before[start + WIDTH] == before[start])]
    shuffled = rng.permutation(silent)
    _, first = np.unique(doc[shuffled], return_index=True)
    off = shuffled[np.sort(first)][:count]
    return read_passages(run, on, active), read_passages(run, off, active)
