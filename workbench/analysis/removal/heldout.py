"""A run's documents in two disjoint parts: experts are chosen on one, and their ablation is measured on the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import BadInputError
from ..checks import check_labels
from ..sums import LEFT_OUT, LabelSums, label_sums
from ..windows import Windows, read_windows

if TYPE_CHECKING:
    from cuda_ext.routing import Routing

    from ...store import Run

CHOOSING_TOKENS = 3  # per measuring token: choosing experts takes more evidence than measuring a mean loss
ROUTING_ROWS = 4096  # token rows of sparse routing read at once


def split_documents(label: NDArray[np.integer], tokens: NDArray[np.integer], seed: int) -> NDArray[np.bool_]:
    """(documents,) True for documents of the measuring part, False for those of the choosing part.

    The documents of each label are shuffled and dealt one by one: the first goes to the choosing part, and each later
    one to the measuring part if that has fewer than a third of the choosing part's tokens so far. So each part has
    documents of every label that has two, and the measuring part about a quarter of the label's tokens.

    Args:
        label: (documents,) label numbers.
        tokens: (documents,) tokens.
        seed: of the shuffle.
    """
    measures = np.zeros(len(label), bool)
    order = np.random.default_rng(seed).permutation(len(label))
    dealt: dict[int, list[int]] = {}
    for document in order:
        parts = dealt.setdefault(int(label[document]), [0, 0])
        part = int(CHOOSING_TOKENS * parts[1] < parts[0])
        parts[part] += int(tokens[document])
        measures[document] = bool(part)
    return measures


@dataclass(frozen=True)
class HeldOut:
    """A run's documents, split into a choosing and a measuring part.

    Attributes:
        run: the run.
        documents: its documents that have tokens and routing, with columns doc, label (number of the label), row,
            tokens, bos and measures (whether it is one of the measuring part).
    """

    run: Run
    documents: pd.DataFrame

    @classmethod
    def split(cls, run: Run, seed: int) -> HeldOut:
        """Split the documents whose routing the run keeps, as ``split_documents`` does.

        Raises:
            BadInputError: the run has one label, or a label has fewer than two such documents of two tokens or more.
        """
        check_labels(run)
        table = run.documents.query("tokens > 1 and kept").reset_index(drop=True)
        label = table["label"].astype(object).map(run.check_label).to_numpy(np.int64)
        for number, name in enumerate(run.labels):
            if (label == number).sum() < 2:
                raise BadInputError(
                    f"label {name!r} of {run.path} has fewer than two documents of two tokens or more with routing "
                    "kept, one to choose experts on and one to measure on. Export more documents, or keep more routing."
                )
        measures = split_documents(label, table["tokens"].to_numpy(), seed)
        return cls(run, table[["doc", "row", "tokens", "bos"]].assign(label=label, measures=measures))

    def choosing_sums(self, group: int) -> LabelSums:
        """Mass and active tokens of every expert by label over the choosing part, from the stored routing.

        Stored probabilities are in half precision, so masses are good to about 3 decimal digits.
        """
        choosing = self.choosing
        number = np.full(self.run.tokens_total, LEFT_OUT, np.int64)
        for row, tokens, label in zip(choosing["row"], choosing["tokens"], choosing["label"], strict=True):
            number[row : row + tokens] = label

        def parts() -> Iterator[tuple[Routing, NDArray[np.integer]]]:
            for start in range(0, len(number), ROUTING_ROWS):
                rows = start + np.flatnonzero(number[start : start + ROUTING_ROWS] != LEFT_OUT)
                if len(rows):
                    yield self.run.routing(rows, group), number[rows]

        return label_sums(parts(), self.run.num_keys, len(self.run.labels))

    @property
    def choosing(self) -> pd.DataFrame:
        """The documents of the choosing part."""
        return self.documents[~self.documents["measures"]].reset_index(drop=True)

    @property
    def measuring(self) -> pd.DataFrame:
        """The documents of the measuring part."""
        return self.documents[self.documents["measures"]].reset_index(drop=True)

    def measuring_windows(self) -> Windows:
        """The measuring part as the model reads it; documents are numbered as in ``measuring``."""
        return read_windows(self.run, self.measuring)
