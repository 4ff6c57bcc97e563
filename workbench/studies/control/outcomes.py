"""How episodes went, as a row of a table."""

from __future__ import annotations

from .episodes import Outcome
from .figures import Figures


def outcome_row(outcome: Outcome) -> dict[str, float]:
    """Mean reward and survival of episodes, with 95 % intervals.

    Args:
        outcome: of ``play``.

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
    figures = Figures.of(outcome)
    row = {"episodes": figures.episodes, "reward": figures.reward, "reward_sd": figures.spread, "whole": figures.whole}
    intervals = {"reward": figures.reward_interval, "whole": figures.whole_interval}
    return row | {
        f"{name}_{end}": ends[at] for name, ends in intervals.items() for at, end in enumerate(("low", "high"))
    }
