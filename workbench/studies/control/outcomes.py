"""How well policies do over many episodes: means with intervals, as rows of a table."""

from __future__ import annotations

import numpy as np

from .episodes import Outcome

_DRAWS, _ENDS = 2000, (0.025, 0.975)


def outcome_row(outcome: Outcome, seed: int = 0) -> dict[str, float]:
    """Mean reward and survival with 95 % intervals, by a percentile bootstrap over episodes.

    Args:
        outcome: of ``play``.
        seed: of the bootstrap.

    Returns:
        ``episodes``; ``reward``, ``reward_sd``, ``reward_low``, ``reward_high``; ``whole``, the share of episodes that
        last all steps, ``whole_low`` and ``whole_high``.

    Examples:
        >>> from workbench.studies.control import Fishery, constant_mortality, play
        >>> from workbench.studies.control.outcomes import outcome_row
        >>> row = outcome_row(play(Fishery.of(3), constant_mortality(0.1, 0.1), 20, seed=0))
        >>> row["reward_low"] < row["reward"] < row["reward_high"]
        True
    """
    rng, count = np.random.default_rng(seed), len(outcome.reward)
    times = rng.multinomial(count, np.full(count, 1 / count), _DRAWS) / count
    columns = {"reward": outcome.reward, "whole": outcome.whole.astype(np.float64)}
    row: dict[str, float] = {"episodes": count, "reward_sd": float(outcome.reward.std(ddof=1))}
    for name, values in columns.items():
        low, high = np.quantile(times @ values, _ENDS)
        row |= {name: float(values.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
    return row
