"""Two experts, of any groups: the tokens where both are active, and how alike their scores are over all tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class PairOverlap:
    """How far two experts are active at the same tokens, counted over the tokens whose routing a run keeps.

    Attributes:
        together: one row per token where both are active, in corpus order: row, doc, position, token, label, first and
            second, the scores of the two experts.
        tokens: active tokens of the first expert, and of the second.
        cosine: of their scores over all tokens, 0 where not active; NaN where one is never active.
    """

    together: pd.DataFrame
    tokens: tuple[int, int]
    cosine: float

    @property
    def jaccard(self) -> float:
        """Tokens where both are active, as a fraction of those where either is; NaN where neither ever is."""
        shared = len(self.together)
        either = sum(self.tokens) - shared
        return shared / either if either else math.nan

    def chance(self, tokens: int) -> float:
        """How many of ``tokens`` tokens they would share if they were independent."""
        return self.tokens[0] * self.tokens[1] / tokens


def pair_overlap(first: pd.DataFrame, second: pd.DataFrame) -> PairOverlap:
    """Compare two experts token by token, exactly.

    Args:
        first, second: of ``Run.activations``, both of one run; their groups may differ, as the token rows do not.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import pair_overlap
        >>> run = open_run("runs/demo")
        >>> a, b = (run.activations(group, run.top_experts(group, limit=1).index[0]) for group in (0, 1))
        >>> pair_overlap(a, a).jaccard, round(pair_overlap(a, a).cosine, 6)
        (1.0, 1.0)
        >>> pair_overlap(a, b).jaccard == pair_overlap(b, a).jaccard
        True
    """
    second_score = second[["row", "score"]].rename(columns={"score": "second"})
    together = first.rename(columns={"score": "first"}).merge(second_score, on="row").sort_values("row")
    norms = [float(np.linalg.norm(table["score"].to_numpy(np.float64))) for table in (first, second)]
    product = float(together["first"].to_numpy(np.float64) @ together["second"].to_numpy(np.float64))
    cosine = product / (norms[0] * norms[1]) if all(norms) else math.nan
    return PairOverlap(together.reset_index(drop=True), (len(first), len(second)), cosine)
