"""How well scores of tokens say where an expert is active: average precision, balanced accuracy, the best threshold."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def average_precision(scores: Floats, active: Flags) -> float:
    """Return the average precision of scores: the sum over thresholds of precision times the recall gained there.

    Tokens of equal score are taken together, so a score that tells nothing has the share of active tokens.

    Args:
        scores: (tokens,) higher where the expert is thought to be active.
        active: (tokens,) where it is.

    Returns:
        From 0 to 1; NaN where no token is active.

    Examples:
        >>> import numpy as np
        >>> from workbench.explain.rules.measure import average_precision
        >>> average_precision(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]))
        0.8333333333333333
    """
    _, hits, said = _at_thresholds(scores, active)
    if not active.any():
        return float("nan")
    recall = hits / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * hits / said))


def best_threshold(scores: Floats, active: Flags) -> float:
    """Return the lowest score of those called active where balanced accuracy is highest; above all scores if by none.

    Examples:
        >>> import numpy as np
        >>> from workbench.explain.rules.measure import best_threshold
        >>> best_threshold(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, True, False, False]))
        2.0
    """
    distinct, hits, said = _at_thresholds(scores, active)
    if not active.any():
        return float("inf")
    others = max(len(active) - int(hits[-1]), 1)
    gain = hits / hits[-1] - (said - hits) / others
    return float(distinct[gain.argmax()])


def balanced_accuracy(called: Flags, active: Flags) -> float:
    """Return the mean of the shares of active and of other tokens that are called right; NaN without both kinds.

    Examples:
        >>> import numpy as np
        >>> from workbench.explain.rules.measure import balanced_accuracy
        >>> balanced_accuracy(np.array([True, False, False]), np.array([True, True, False]))
        0.75
    """
    if active.all() or not active.any():
        return float("nan")
    return float((called[active].mean() + (~called[~active]).mean()) / 2)


def _at_thresholds(scores: Floats, active: Flags) -> tuple[Floats, Floats, Floats]:
    """Distinct scores, highest first; for each the active tokens of that score or more, and all such tokens."""
    place, distinct = pd.factorize(scores)  # scores of rules are few: only those are sorted
    order = np.argsort(-distinct)
    said, hits = (np.bincount(of, minlength=len(distinct))[order].cumsum() for of in (place, place[active]))
    return distinct[order], hits.astype(np.float64), said.astype(np.float64)
