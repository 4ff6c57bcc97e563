"""pass@k, without bias: the chance that at least one of k drawn samples passes (Chen et al. 2021, section 2.1)."""

from __future__ import annotations

import math

from ..errors import BadInputError


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The chance that k of the samples, drawn without replacement, hold at least one that passed.

    ``1 - C(n - c, k) / C(n, k)`` for n samples of which c passed: the unbiased estimator of pass@k
    (https://arxiv.org/abs/2107.03374, equation 1), as a product that neither overflows nor cancels.

    Args:
        samples: n, at least k.
        passed: c, from 0 to n.
        k: at least 1.

    Raises:
        BadInputError: the numbers are out of range; pass@k cannot be estimated from fewer than k samples.

    Examples:
        >>> from workbench.evaluation import pass_at_k
        >>> [round(pass_at_k(10, 1, k), 9) for k in (1, 2, 10)]
        [0.1, 0.2, 1.0]
    """
    if not 1 <= k <= samples:
        raise BadInputError(
            f"pass@{k} needs at least {max(k, 1)} samples of each problem and a k from 1, got {samples}."
        )
    if not 0 <= passed <= samples:
        raise BadInputError(f"of {samples} samples, {passed} cannot have passed.")
    if samples - passed < k:
        return 1.0
    return 1.0 - math.prod((samples - passed - drawn) / (samples - drawn) for drawn in range(k))
