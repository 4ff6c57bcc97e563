"""What rules of many experts come to: medians by group, and for how many experts context matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..stored import MEASURED, TASKS

CONTEXT_MATTERS = 0.1  # average precision that a rule gains over one of tokens alone
_DRAWS = 2000  # of the bootstrap over experts
COLUMNS = [*MEASURED, *(f"{task}{end}" for task in TASKS for end in ("", ":control"))]


def rule_summary(table: pd.DataFrame, seed: int = 0) -> list[dict[str, Any]]:
    """Return medians of the figures of rules, group by group, over the experts that have each.

    Args:
        table: rows of kind ``rule``, as ``read_explanations`` returns them; others are left out.
        seed: of the intervals.

    Returns:
        For each group

        - group: its number.
        - experts: its experts with a rule.
        - measured: those active at a token of the measuring documents.
        - context: those of them whose rule has at least ``CONTEXT_MATTERS`` more average precision than the rule that
          knows the token alone.
        - medians: column -> (median, low, high), with a 95 % CI (percentile bootstrap over experts).

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import explain_by_rules, rule_summary
        >>> run = open_run("runs/demo")
        >>> strongest = run.experts(0)["mass"].nlargest(3).index
        >>> (group,) = rule_summary(explain_by_rules(run, [(0, expert) for expert in strongest]).table)
        >>> group["group"], group["experts"]
        (0, 3)
    """
    groups = []
    for group, rows in table[table["kind"] == "rule"].groupby("group"):
        gain = rows["average_precision"] - rows["average_precision:token"]
        medians = {}
        for name in COLUMNS:
            known = rows[name].dropna().to_numpy()
            if len(known):
                draws = np.random.default_rng(seed).integers(len(known), size=(_DRAWS, len(known)))
                low, high = np.percentile(np.median(known[draws], axis=1), [2.5, 97.5])
                medians[name] = (float(np.median(known)), float(low), float(high))
        groups.append(
            {
                "group": int(str(group)),
                "experts": len(rows),
                "measured": int(gain.notna().sum()),
                "context": int((gain >= CONTEXT_MATTERS).sum()),
                "medians": medians,
            }
        )
    return groups
