"""Stored structure of a run's experts: keys, standing committee, and likeness of outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from ..results import Result, fields_of, read_result, rows_table

if TYPE_CHECKING:
    from ...store import Run

LATTICE_COLUMNS = (
    *("group", "model", "experts", "explained", "null", "p"),
    *("reliable", "keys", "interaction", "interaction_p"),
)
COMMITTEE_COLUMNS = ("group", "experts", "chance", "mass", "least", "everywhere")
OUTPUT_COLUMNS = ("group", "probes", "row", "column", "other")


@dataclass(frozen=True)
class Structure(Result):
    """How a run's experts relate to their keys, to each other's outputs and to all labels at once.

    Attributes:
        lattice: two-way (row x column) ANOVA of label preference, one row per group and model; its columns are those
            that ``lattice_test`` returns.
        committee: the standing committee, the experts that are among the most active in every label, one row per
            group; its columns are those that ``committee_row`` returns.
        outputs: mean cosine between the outputs of a sample of experts and those of all others, one row per group;
            None where no model was given:

            - group: number of the group.
            - probes: experts in the sample.
            - row, column: mean over the experts that share the key of set 1, or that of set 2.
            - other: mean over the experts that share neither.
        top: fraction of a group's experts that count as most active in a label.
        permutations: of the ANOVA's null.
        seed: of everything random.
    """

    kind: ClassVar[str] = "structure"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet structure"

    lattice: pd.DataFrame
    committee: pd.DataFrame
    outputs: pd.DataFrame | None
    top: float
    permutations: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """The attributes in JSON types, tables as lists of rows."""
        tables = {"lattice": self.lattice, "committee": self.committee, "outputs": self.outputs}
        return fields_of(self) | {
            name: None if table is None else table.to_dict("records") for name, table in tables.items()
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` describes."""
        outputs = stored["outputs"]
        return cls(
            lattice=rows_table(stored["lattice"], LATTICE_COLUMNS),
            committee=rows_table(stored["committee"], COMMITTEE_COLUMNS),
            outputs=None if outputs is None else rows_table(outputs, OUTPUT_COLUMNS),
            top=stored["top"],
            permutations=stored["permutations"],
            seed=stored["seed"],
        )


def read_structure(run: Run, *, name: str | None = None) -> Structure | None:
    """Return the result that ``analyze_structure`` stored last, or None where there is none.

    Args:
        run: an opened run.
        name: name the result was kept under; by default the unnamed one.

    Raises:
        DamagedError: the stored result is truncated or changed.
        UnsupportedError: it belongs to another run, or this version of the workbench does not read it.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_structure
        >>> print(read_structure(open_run("runs/demo"), name="not-computed-yet"))
        None
    """
    return read_result(run, Structure, name)
