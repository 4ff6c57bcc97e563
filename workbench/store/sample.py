"""A sample of a run's documents: drawn per label, whole documents, with a seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import BadInputError


@dataclass(frozen=True)
class Sample:
    """Which documents of a run are read, as a result states it.

    Attributes:
        per_label: documents asked for of each label.
        by_size: whether labels have as many documents in all, but each in proportion to the documents that it has.
        seed: of the draw.
        documents, tokens: drawn.
        of_documents, of_tokens: those they were drawn from: all whose routing the run holds, empty ones left out.
    """

    per_label: int
    by_size: bool
    seed: int
    documents: int
    tokens: int
    of_documents: int
    of_tokens: int

    def __str__(self) -> str:
        how = f"{self.per_label:,} per label" + (" on average, in proportion to the labels" if self.by_size else "")
        return (
            f"{self.documents:,} of {self.of_documents:,} documents ({how}; seed {self.seed}), "
            f"{self.tokens:,} of {self.of_tokens:,} tokens"
        )

    def to_json(self) -> dict[str, Any]:
        """Its attributes."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The sample that ``to_json`` describes."""
        return cls(**stored)


def draw(
    documents: pd.DataFrame, labels: list[str], per_label: int, seed: int, by_size: bool
) -> tuple[NDArray[np.bool_], Sample]:
    """Draw documents: of each label ``per_label``, or all where it has no more.

    Args:
        documents: as ``Run.documents``; those whose routing is not kept, and empty ones, are never drawn.
        labels: of the run.
        per_label: how many of each label.
        seed: of the draw. A larger sample of the same seed contains the smaller one.
        by_size: draw as many in all, but of each label in proportion to its documents, rounded.

    Returns:
        (documents,) whether each is drawn, and what was drawn.

    Raises:
        BadInputError: ``per_label`` is below 1, or nothing can be drawn.
    """
    if isinstance(per_label, bool) or not isinstance(per_label, int | np.integer) or per_label < 1:
        raise BadInputError(f"a sample needs at least one document per label, got {per_label!r}.")
    can = (documents["kept"] & (documents["tokens"] > 0)).to_numpy(bool)
    label, tokens = documents["label"].to_numpy(), documents["tokens"].to_numpy(np.int64)
    order = np.random.default_rng(seed).permutation(len(documents))
    order = order[can[order]]
    if not len(order):
        raise BadInputError("there is nothing to draw a sample from: the run holds the routing of no document.")
    fraction = min(1.0, per_label * len(labels) / len(order))
    drawn = np.zeros(len(documents), bool)
    for name in labels:
        mine = order[label[order] == name]
        drawn[mine[: round(fraction * len(mine)) if by_size else per_label]] = True
    return drawn, Sample(
        per_label=int(per_label),
        by_size=by_size,
        seed=seed,
        documents=int(drawn.sum()),
        tokens=int(tokens[drawn].sum()),
        of_documents=int(can.sum()),
        of_tokens=int(tokens[can].sum()),
    )
