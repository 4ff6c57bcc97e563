"""The part of a run that comes from its stored routing: activations, contexts, co-activating experts."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import NotFoundError, UnsupportedError
from .index import find_expert
from .pairs import expand, neighbours
from .run_documents import RunDocuments
from .runfiles import Rows, check_count
from .schema import index_name

if TYPE_CHECKING:
    from cuda_ext.routing import Routing


class RunRouting(RunDocuments):
    """Reads the stored routing of a run. Which keys are active is exact; probabilities are in half precision."""

    def activations(self, group: int, expert: int) -> pd.DataFrame:
        """Return every token where an expert is active, in order.

        Which tokens these are is exact; scores come from the stored half precision. In a run that keeps the routing of
        a sample of documents, only their tokens are listed.

        Args:
            group: number of the group.
            expert: flat id.

        Returns:
            DataFrame with one row per token and columns

            - row: the token row
            - doc: number of the document
            - position: position in the document
            - token: token id
            - label: the document's label
            - score: the expert's routing score

        Raises:
            NotFoundError: the run has no such group or expert.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> best = run.top_experts(0, limit=1).index[0]
            >>> len(run.activations(0, best)) == int(run.expert(0, best)["tokens"])
            True
        """
        i, j = self._keys(expert)
        self.check_group(group)
        rows, scores = [], []
        for part in range(self._parts):
            local, score = find_expert(self._file(index_name(part, group)), i, j, self.heads, self.num_keys)
            rows.append(local + self._part_rows[part])
            scores.append(score)
        row = np.concatenate(rows)
        doc, position = self.geometry.places(row)
        return pd.DataFrame(
            {
                "row": row,
                "doc": doc,
                "position": position.astype(np.int32),
                "token": self._token_ids(row),
                "label": self._labels_of(doc),
                "score": np.concatenate(scores),
            }
        )

    def neighbours(self, group: int, expert: int, n: int = 10) -> pd.DataFrame:
        """Return the experts that co-activate with an expert on its examples, most similar first.

        Computed from the stored routing of the examples that the run keeps of the expert; other tokens do not count.

        Args:
            group: number of the group.
            expert: flat id.
            n: how many experts at most.

        Returns:
            DataFrame with one row per expert and columns

            - expert: flat id
            - similarity: cosine of both experts' scores over those tokens
            - shared: number of those tokens where both are active
            - key: the set whose key both experts have, 1 or 2; 0 for neither

        Raises:
            NotFoundError: the run has no such group or expert.
            BadInputError: ``n`` is not a whole number from 0.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> near = run.neighbours(0, run.top_experts(0, limit=1).index[0], n=3)
            >>> near["similarity"].is_monotonic_decreasing, near.columns.tolist()
            (True, ['expert', 'similarity', 'shared', 'key'])
        """
        rows = np.sort(self._of_expert("examples", group, expert, ["row"])["row"].to_numpy())
        pairs = expand(*self.sides(rows, group), self.heads, self.num_keys)
        return neighbours(pairs, index(expert), self.num_keys, check_count("n", n))

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
        i, j = self._keys(expert)
        at = self._rows(rows)
        doc, position = self.geometry.places(at)
        start, end = self.geometry.bounds(doc, position)
        first = np.maximum(position - check_count("before", before), start)
        counts = np.minimum(position + check_count("after", after) + 1, end) - first
        example = np.repeat(np.arange(len(at)), counts)
        shown = np.arange(len(example)) - np.repeat(np.cumsum(counts) - counts - first, counts)
        wanted, back = np.unique(shown + (at - position)[example], return_inverse=True)
        score = self._score(wanted, self.check_group(group), i, j)[back]
        token = self._token_ids(wanted)[back]
        return pd.DataFrame(
            {
                "example": example,
                "row": wanted[back],
                "position": shown,
                "token": token,
                "text": self.token_text(token),
                "score": score,
                "left": shown - start[example],
                "right": end[example] - 1 - shown,
            }
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
        return pd.DataFrame({"position": position, "token": token, "text": self.token_text(token), "score": score})

    def _score(self, rows: NDArray[np.int64], group: int, i: int, j: int) -> NDArray[np.float32]:
        """Score of expert (i, j) at token rows; missing where the run does not hold their routing."""
        columns = [
            side.column(key, self.heads, self.num_keys)
            for side, key in zip(self.sides(rows, group), (i, j), strict=True)
        ]
        score: NDArray[np.float32] = (columns[0] * columns[1]).sum(1)
        score[~self._kept[self.geometry.places(rows)[0]]] = np.nan
        return score

    def routing(self, tokens: Rows, group: int = 0) -> Routing:
        """Return the stored routing of token rows: which keys are active, exactly, and their half-precision weights.

        Args:
            tokens: a slice or a list of token rows.
            group: number of the group.

        Returns:
            ``cuda_ext.routing.Routing`` of these rows, in their order.

        Raises:
            NotFoundError: the run has no such row or group.
            UnsupportedError: the run does not keep the routing of a row's document: see ``kept`` in ``documents``.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> token, expert, score = run.routing([0, 1]).pairs()
            >>> token.unique().tolist()
            [0, 1]
        """
        docs = self.geometry.places(self._rows(tokens))[0]
        if len(missing := docs[~self._kept[docs]]):
            share = self.manifest["settings"]["keep_routing"]
            raise UnsupportedError(
                f"the run {self.path} does not hold the routing of document {missing[0]}: it was exported with "
                f"--keep-routing {share:g}. Export with --keep-routing all for this."
            )
        return self.kept_routing(tokens, group)

    def kept_routing(self, tokens: Rows, group: int = 0) -> Routing:
        """Return the same as ``routing``, with no active key where the run does not keep a token's routing.

        Args:
            tokens: a slice or a list of token rows.
            group: number of the group.

        Raises:
            NotFoundError: the run has no such row or group.

        Examples:
            >>> from workbench import open_run
            >>> len(open_run("runs/demo").kept_routing(slice(0, 5)))
            5
        """
        import torch

        from cuda_ext.routing import Routing

        sides = self.sides(tokens, group)
        arrays = (array for side in sides for array in side.padded(self.heads, self.num_keys))
        return Routing(*map(torch.from_numpy, arrays), num_keys=self.num_keys)  # type: ignore[misc, arg-type]
