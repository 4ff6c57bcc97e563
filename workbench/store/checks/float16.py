"""What a probability that is stored in half precision may have been."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..routing import Side

_ONE = 0x3C00  # 1 in half precision
_SUMS = 2.0**-21  # scores added up in float32, by whichever kernel
SPREAD, LEAST = 2.0**-8, 2.0**-22  # of the ends of two numbers' product: a share of it, and what small ones add


def bits(side: Side) -> NDArray[np.uint16]:
    """The half-precision bits of a side's probabilities."""
    return side.probs.astype(np.float16).view(np.uint16)


def _ends() -> NDArray[np.float32]:
    values = np.arange(_ONE + 2, dtype=np.uint16).view(np.float16).astype(np.float64)
    middle = (values[1:] + values[:-1]) / 2
    lower, upper = np.concatenate([[0], middle[:-1]]), middle.copy()
    lower[1] = upper[0] = 0
    upper[-1] = 1
    return np.stack([lower * (1 - _SUMS), upper * (1 + _SUMS)]).astype(np.float32)


# (2, numbers) lower and upper end of what rounds to each half-precision number from 0 to 1, by its bits. The least
# above 0 also stands for all below it, which may come to nothing; 0 stands for no entry.
ENDS = _ends()


def highest(lower: NDArray[np.float32], heads: int) -> NDArray[np.float64]:
    """What the upper end of a score over so many heads does not reach, given its lower end."""
    return lower.astype(np.float64) * (1 + SPREAD) + heads * LEAST
