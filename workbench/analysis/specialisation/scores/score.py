"""What `monet analyze` needs to know of a score: its column, what it means, and the null that tests it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ..shares import Floats


@dataclass(frozen=True)
class LabelCounts:
    """Experts by label, as a ``LabelScore`` sees them.

    Attributes:
        shares: (labels, ...) of ``label_shares``, which sum to 1 over labels.
        tokens: (labels, ...) active tokens.
        label_tokens: (labels,) or (labels, ...) tokens of each label, active or not.
    """

    shares: Floats
    tokens: Floats
    label_tokens: ArrayLike


@dataclass(frozen=True)
class Embeddings:
    """A unit vector for the context of every token row of a run.

    Attributes:
        vectors: (contexts, width) float32, of length 1.
        context: (token rows,) the context of each token: a row of ``vectors``.
    """

    vectors: NDArray[np.float32]
    context: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number per expert that says how pure, or how telling of labels, it is. Use one of the subclasses.

    Attributes:
        name: column of ``read_analysis``; its tests are in ``p:{name}`` and ``q:{name}``.
        title: heading of the column on a page.
        definition: one sentence for readers who do not know the score.
        source: paper, section or equation.
        unit: such as ``nats``; empty for a number without one.
        higher_is_purer: False where pure experts have low values.
        null: what a p-value compares the score with; set by the subclass.
        needs_routing: whether the score itself, and not only its p-value, is read from stored routing; so it is missing
            for experts active at too few tokens whose routing the run kept. Set by the subclass.
    """

    name: str
    title: str
    definition: str
    source: str
    unit: str = ""
    higher_is_purer: bool = True
    null: ClassVar[str]
    needs_routing: ClassVar[bool]


@dataclass(frozen=True, kw_only=True)
class LabelScore(Score):
    """A score of how an expert's activity divides over the labels.

    Attributes:
        compute: from the counts of any number of experts, with the labels first, to one value per expert, (...).
            It is also called with the labels shuffled, for thousands of experts at a time: no loops over experts.
    """

    compute: Callable[[LabelCounts], Floats]
    null: ClassVar[str] = "labels shuffled among documents"
    needs_routing: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class TextScore(Score):
    """A score of the token ids that an expert is active at.

    Attributes:
        compute: from how often each expert is active at each token id to one value per expert: three arrays (n,),
            expert, token id and count, equal experts together; returns a Series whose index is the expert's flat id.
    """

    compute: Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], pd.Series]
    null: ClassVar[str] = "text shifted against the routing"
    needs_routing: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class ContextScore(Score):
    """A score of the contexts of an expert's best examples.

    Attributes:
        view: the embeddings it needs, ``residual`` or ``encoder``; without them the score is left out.
        compute: from examples (n,) of expert, routing score and token row, equal experts together, and the embeddings,
            to one value for each run of equal experts.
    """

    view: str
    compute: Callable[[NDArray[np.integer], NDArray[np.floating], NDArray[np.integer], Embeddings], NDArray[np.float64]]
    null: ClassVar[str] = "contexts shifted against the examples"
    needs_routing: ClassVar[bool] = False
