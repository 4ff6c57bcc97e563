"""Stored maps of experts: the summary, and the places of each group's experts on the plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from ..results import Result, read_group_table, read_result

if TYPE_CHECKING:
    from ...store import Run


@dataclass(frozen=True)
class ExpertMap(Result):
    """Summary of the maps of all groups; ``read_map`` returns where each expert lies.

    Attributes:
        view: what embedded the contexts: ``residual``, the model's own residual stream after its last layer, or
            ``encoder``, a sentence encoder.
        experts: group -> number of experts on its map.
        trust: group -> trustworthiness (Venna & Kaski 2001) at 15 neighbours, from 0 to 1; at 1, all neighbours on the
            map are neighbours in the embedding too.
        seed: of the layout.
    """

    kind: ClassVar[str] = "map"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet map"

    view: str
    experts: dict[int, int]
    trust: dict[int, float]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """JSON types: view, seed, and groups, each with group, experts and trust."""
        groups = [{"group": g, "experts": n, "trust": self.trust[g]} for g, n in self.experts.items()]
        return {"view": self.view, "seed": self.seed, "groups": groups}

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The summary that ``to_json`` describes."""
        groups = stored["groups"]
        trust = {row["group"]: np.nan if row["trust"] is None else row["trust"] for row in groups}
        return cls(stored["view"], {row["group"]: row["experts"] for row in groups}, trust, stored["seed"])


def read_map(run: Run, group: int, *, name: str | None = None) -> pd.DataFrame:
    """Return the map of a group that ``map_experts`` stored last.

    Args:
        run: an opened run.
        group: number of the group.
        name: name the result was kept under; by default the unnamed one.

    Returns:
        One row per expert on the map; the index is ``expert``, ascending. Columns:

        - x, y: its place on the plane; only distances mean anything.

    Raises:
        NotFoundError: the run has no such group.
        NotAnalysedError: the run has no map.
        DamagedError: the stored map is truncated or changed.
        UnsupportedError: it belongs to another run, or this version of the workbench does not read it.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_map
        >>> try:
        ...     read_map(open_run("runs/demo"), 0)
        ... except ValueError as error:
        ...     print("monet map" in str(error))  # the message names the command that draws one
        True
    """
    return read_group_table(run, ExpertMap, group, ("x", "y"), name)


def read_map_summary(run: Run, *, name: str | None = None) -> ExpertMap | None:
    """Return the summary that ``map_experts`` stored last, or None where there is none.

    Args:
        run: an opened run.
        name: name the result was kept under; by default the unnamed one.

    Raises:
        DamagedError: the stored summary is truncated or changed.
        UnsupportedError: it belongs to another run, or this version of the workbench does not read it.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_map_summary
        >>> print(read_map_summary(open_run("runs/demo")))  # `monet map` has not been run
        None
    """
    return read_result(run, ExpertMap, name)
