"""The part of a run that comes from its stored routing: activations, contexts, co-activating experts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import index
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import NotFoundError, UnsupportedError
from .index import blocks_of, find_expert, find_key, find_keys
from .pairs import expand, neighbours
from .run_documents import RunDocuments
from .runfiles import Rows, check_count
from .sample import Sample, draw
from .schema import index_name

if TYPE_CHECKING:
    from cuda_ext.routing import Routing


READERS = 4  # parts of the index read at once
Entries = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


class RunRouting(RunDocuments):
    """Reads the stored routing of a run. Which keys are active is exact; probabilities are in half precision."""

    drawn: Sample | None = None  # what ``sample`` drew, in the run that it returned

    def sample(self, per_label: int, seed: int = 0, *, by_size: bool = False) -> Self:
        """Return the same run as though it held the routing of a sample of its documents only.

        Statistics, examples, texts and single experts' activations stay those of all documents; analyses that read
        routing read that of the sample, and keep with their results which one it was.

        Args:
            per_label: documents to draw of each label; all of one that has no more.
            seed: of the draw. A larger sample of the same seed contains the smaller one.
            by_size: draw as many in all, but of each label in proportion to its documents.

        Returns:
            A run whose ``drawn`` says what was drawn, and whose ``documents`` have ``kept`` for those alone.

        Raises:
            BadInputError: ``per_label`` is below 1, or the run holds no routing.

        Examples:
            >>> from workbench import open_run
            >>> few = open_run("runs/demo").sample(2)
            >>> few.documents[few.documents["kept"]]["label"].value_counts().unique().tolist()
            [2]
            >>> few.drawn.documents
            14
        """
        chosen, drawn = draw(self.documents, self.labels, per_label, seed, by_size)
        run = copy.copy(self)
        run.__dict__["documents"] = self.documents.assign(kept=chosen)  # in place of the cached property's value
        run.drawn = drawn
        return run

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

    def key_activations(self, group: int, key_set: int, key: int) -> pd.DataFrame:
        """Return every token where a key is active, in order, whichever keys of the other set go with it.

        Which tokens these are is exact; weights come from the stored half precision. In a run that keeps the routing of
        a sample of documents, only their tokens are listed.

        Args:
            group: number of the group.
            key_set: 1 or 2.
            key: number of the key in its set.

        Returns:
            DataFrame with one row per token and columns

            - row: the token row
            - token: token id
            - label: the document's label
            - weight: the key's routing probability, summed over heads

        Raises:
            NotFoundError: the run has no such group or key.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> expert = run.top_experts(0, limit=1).index[0]
            >>> key = run.key_activations(0, 1, expert // run.num_keys)
            >>> set(run.activations(0, expert)["row"]) <= set(key["row"])
            True
        """
        self.check_group(group)
        if key_set not in (1, 2) or not 0 <= key < self.num_keys:
            raise NotFoundError(
                f"there is no key {key} of set {key_set}; the sets 1 and 2 have keys 0 to {self.num_keys - 1}."
            )
        rows, weights = [], []
        for part in range(self._parts):
            local, weight = find_key(self._file(index_name(part, group)), key_set, key, self.heads, self.num_keys)
            rows.append(local + self._part_rows[part])
            weights.append(weight)
        row = np.concatenate(rows)
        return pd.DataFrame(
            {
                "row": row,
                "token": self._token_ids(row),
                "label": self._labels_of(self.geometry.places(row)[0]),
                "weight": np.concatenate(weights),
            }
        )

    def rows_by_key(self, group: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return every token row where a key is active together with that key, each pair once, in pieces.

        Args:
            group: number of the group.

        Yields:
            (n,) token rows and (n,) keys, those of set 2 numbered from E on.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> rows, keys = next(run.rows_by_key(0))
            >>> len(rows) == len(keys), int(keys.max()) < 2 * run.num_keys
            (True, True)
        """
        self.check_group(group)
        for part in range(self._parts):
            for rows, keys in blocks_of(self._file(index_name(part, group)), self.heads, self.num_keys):
                yield rows + self._part_rows[part], keys

    def entries_at(
        self, rows: NDArray[np.int64], group: int, keys: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Return where some keys are active at some token rows, from the inverted index.

        The time grows with the tokens where the keys are active, not with the rows.

        Args:
            rows: (n,) token rows, ascending, each once.
            group: number of the group.
            keys: keys, those of set 2 numbered from E on; ascending, each once.

        Returns:
            For each key, ascending places, which are the number of the row in ``rows`` times heads, plus the head; and
            the key's probabilities there, from the stored half precision.

        Examples:
            >>> import numpy as np
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> places, probabilities = run.entries_at(np.arange(50), 0, np.array([3]))[0]
            >>> len(places) == len(probabilities), bool((places < 50 * run.heads).all())
            (True, True)
        """

        def of_part(part: int, local: NDArray[np.int64], where: NDArray[np.int64]) -> Entries:
            which, place, prob = find_keys(self._file(index_name(part, group)), keys, self.num_keys)
            known = np.full(self._part_rows[part + 1] - self._part_rows[part], -1, np.int64)
            known[local] = where
            row, head = np.divmod(place, np.uint32(self.heads))
            at = known[row]
            kept = np.flatnonzero(at >= 0)
            return which[kept], at[kept] * self.heads + head[kept], prob[kept]

        with ThreadPoolExecutor(READERS) as pool:
            parts = list(pool.map(lambda part: of_part(*part), self._by_part(rows)))
        which, place, prob = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(which, kind="stable")
        bounds = np.searchsorted(which[order], np.arange(len(keys) + 1))
        spans = [order[begin:end] for begin, end in zip(bounds[:-1], bounds[1:], strict=True)]
        return [(place[span], prob[span]) for span in spans]

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
            if self.drawn is not None:
                raise UnsupportedError(f"document {missing[0]} of {self.path} is not in the sample: {self.drawn}.")
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
