"""What a rule is to tell: the tokens that hold most of an expert's mass, not all at which it is active at all.

Weak tokens are many and say little: nine tenths of an expert's mass lie in two fifths of its active tokens in the
demo, and in a twentieth of them in a transcoded model. A rule of all active tokens describes the weak ones.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MASS_SHARE = 0.9  # of an expert's mass, which its strong tokens hold


def strong_activations(activations: pd.DataFrame, learned: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the activations that are at least as strong as those that together hold nine tenths of the mass.

    Args:
        activations: ``run.activations`` of an expert.
        learned: (documents,) True for those that rules are learned from. The limit is read off these alone.

    Returns:
        Rows of ``activations``; all of them where the expert is active in no such document.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from workbench.explain.rules.strong import strong_activations
        >>> scores = np.array([0.5] * 60 + [0.01] * 90)
        >>> activations = pd.DataFrame({"doc": np.arange(150) % 2, "score": scores})
        >>> len(strong_activations(activations, np.array([True, False])))
        60
    """
    scores = activations["score"].to_numpy(np.float64)
    known = np.sort(scores[learned[activations["doc"]]])[::-1]
    if not len(known):
        return activations
    held = known.cumsum()
    return activations[scores >= known[np.searchsorted(held, MASS_SHARE * held[-1])]]
