"""What reports say of stored explanations: all of an expert, or the most telling one of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from ..explain import read_explanations
from .files import records

if TYPE_CHECKING:
    from ..store import Run

BEST = ["person", "endpoint", "rule", "self", "template"]  # kinds of explanations, the most telling first
COLUMNS = ["text", "kind", "author", "detection", "detection:control", "fuzzing", "fuzzing:control"]
COLUMNS += ["balanced_accuracy", "average_precision", "average_precision:token"]


def explanations(run: Run, group: int, expert: int) -> list[dict[str, Any]]:
    """The stored explanations of an expert as JSON types, with how well they hold, the most telling kind first.

    Raises:
        DamagedError, UnsupportedError: as ``read_explanations``.
    """
    return records(_by_kind(read_explanations(run, group, expert))[COLUMNS])


def best_explanations(run: Run) -> dict[tuple[int, int], str]:
    """The stored explanation of each (group, expert); of several the one of the most telling kind.

    Raises:
        DamagedError, UnsupportedError: as ``read_explanations``.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.report.explained import best_explanations
        >>> best_explanations(open_run("runs/demo")).get((0, -1), "")  # there is no such expert
        ''
    """
    first = _by_kind(read_explanations(run)).drop_duplicates(["group", "expert"])
    return dict(zip(zip(first["group"].tolist(), first["expert"].tolist(), strict=True), first["text"], strict=True))


def _by_kind(table: pd.DataFrame) -> pd.DataFrame:
    kind = pd.Categorical(table["kind"], BEST, ordered=True)
    return table.assign(rank=kind).sort_values("rank", kind="stable")
