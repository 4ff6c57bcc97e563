"""Token rows of a run with what stands around them, and an expert's scores there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import NotFoundError
from .run_routing import RunRouting
from .runfiles import Rows, check_count

_CONTEXT = ("row", "position", "token", "text", "score", "left", "right")  # columns of a context


@dataclass(frozen=True)
class Around:
    """The tokens around some token rows, one context after the other: see ``Run.contexts``.

    Attributes:
        counts: (rows,) tokens shown around each.
        row, position, token, text, score, left, right: of each token shown, as the columns of ``Run.contexts``.
    """

    counts: NDArray[np.int64]
    row: NDArray[np.int64]
    position: NDArray[np.int64]
    token: NDArray[np.int32]
    text: list[str]
    score: NDArray[np.float32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]


class RunContexts(RunRouting):
    """Reads tokens with their surroundings."""

    def contexts(self, group: int, expert: int, rows: Rows, before: int = 28, after: int = 14) -> pd.DataFrame:
        """Return the tokens around some token rows, each within its context window, with an expert's scores there.

        Scores come from the stored half precision; they are missing in documents whose routing the run does not keep.

        Args:
            group: number of the group.
            expert: flat id.
            rows: token rows, such as those of ``examples``.
            before: tokens to show before each of them.
            after: tokens to show after each of them.

        Returns:
            DataFrame with one row per shown token and columns

            - example: which of ``rows``, from 0
            - row: the token row
            - position: position in the document
            - token, text: token id and its text
            - score: the expert's routing score, 0 where it is not active
            - left, right: number of tokens of the window before and after this one

        Raises:
            NotFoundError: the run has no such group, expert or row.
            BadInputError: ``before`` or ``after`` is not a whole number from 0.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> best = run.top_experts(0, limit=1).index[0]
            >>> around = run.contexts(0, best, run.examples(0, best, 2)["row"], before=3, after=3)
            >>> around["example"].unique().tolist(), bool((around["score"] > 0).any())
            ([0, 1], True)
        """
        around = self.around(group, expert, rows, before, after)
        example = np.repeat(np.arange(len(around.counts)), around.counts)
        return pd.DataFrame({"example": example, **{name: getattr(around, name) for name in _CONTEXT}})

    def around(self, group: int, expert: int, rows: Rows, before: int = 28, after: int = 14) -> Around:
        """Return the same as ``contexts``, as arrays: what a page with a dozen contexts takes a third of its time for.

        Args:
            group: number of the group.
            expert: flat id.
            rows: token rows, such as those of ``examples``.
            before: tokens to show before each of them.
            after: tokens to show after each of them.

        Raises:
            NotFoundError: the run has no such group, expert or row.
            BadInputError: ``before`` or ``after`` is not a whole number from 0.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> best = run.top_experts(0, limit=1).index[0]
            >>> around = run.around(0, best, run.examples(0, best, 2)["row"], before=3, after=3)
            >>> len(around.counts), bool(len(around.text) == around.counts.sum())
            (2, True)
        """
        i, j = self._keys(expert)
        at = self._rows(rows)
        doc, position = self.geometry.places(at)
        start, end = (self.geometry.rows(doc, bound) for bound in self.geometry.bounds(doc, position))
        first = np.maximum(at - check_count("before", before), start)
        counts = np.minimum(at + check_count("after", after) + 1, end) - first
        example = np.repeat(np.arange(len(at)), counts)
        shown = np.arange(len(example)) - np.repeat(np.cumsum(counts) - counts - first, counts)
        wanted, back = np.unique(shown, return_inverse=True)
        score = self._score(wanted, self.check_group(group), i, j)[back]
        token = self._token_ids(wanted)
        texts = self._row_text(wanted, token)
        return Around(
            counts=counts,
            row=shown,
            position=self.geometry.places(wanted)[1][back],
            token=token[back],
            text=[texts[at] for at in back.tolist()],
            score=score,
            left=shown - start[example],
            right=end[example] - 1 - shown,
        )

    def context(self, window: int, group: int, expert: int) -> pd.DataFrame:
        """Return all token rows of a context window with an expert's scores.

        Scores come from the stored half precision; they are missing in documents whose routing the run does not keep.

        Args:
            window: number of the context window.
            group: number of the group.
            expert: flat id.

        Returns:
            DataFrame with one row per token row and columns

            - position: position in the document
            - token, text: token id and its text
            - score: the expert's routing score, 0 where it is not active

        Raises:
            NotFoundError: the run has no such window, group or expert.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> example = run.examples(0, run.top_experts(0, limit=1).index[0], 1).iloc[0]
            >>> window = run.context(example["window"], 0, run.top_experts(0, limit=1).index[0])
            >>> bool(window.set_index("position").loc[example["position"], "score"] > 0)
            True
        """
        i, j = self._keys(expert)
        windows = self.manifest["parts"][-1]["windows"][1]
        if not 0 <= window < windows:
            raise NotFoundError(f"the run has no context window {window}; it has 0 to {windows - 1}.")
        rows, position = self.geometry.window_rows(window)
        score = self._score(rows, self.check_group(group), i, j)
        token = self._token_ids(rows)
        return pd.DataFrame({"position": position, "token": token, "text": self.row_text(rows), "score": score})

    def _score(self, rows: NDArray[np.int64], group: int, i: int, j: int) -> NDArray[np.float32]:
        """Score of expert (i, j) at token rows; missing where the run does not hold their routing."""
        columns = [
            side.column(key, self.heads, self.num_keys)
            for side, key in zip(self.sides(rows, group), (i, j), strict=True)
        ]
        score: NDArray[np.float32] = (columns[0] * columns[1]).sum(1)
        score[~self._kept[self.geometry.places(rows)[0]]] = np.nan
        return score
