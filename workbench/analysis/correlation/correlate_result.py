"""Stored correlations of routing scores with a per-document score: the summary, and the table of each group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from ..results import Result, fields_of, read_group_table, read_result, rows_table

if TYPE_CHECKING:
    from ...store import Run

KINDS = ("pearson", "spearman")
GROUP_COLUMNS = ("group", "seen", "tested", *(f"{kind}:{sign}" for kind in KINDS for sign in ("positive", "negative")))
STRONGEST_COLUMNS = ("group", "expert", "documents", *KINDS, *(f"q:{kind}" for kind in KINDS))
EXPERT_COLUMNS = (
    "documents",
    *(
        f"{name}{kind}{end}"
        for kind in KINDS
        for name, end in [("", ""), ("", ":low"), ("", ":high"), ("p:", ""), ("q:", "")]
    ),
)


@dataclass(frozen=True)
class ScoreSummary(Result):
    """Summary of the correlations that `monet scores` computed.

    Attributes:
        column: the column of ``run.documents`` that was correlated.
        unit: what one observation is: ``mean`` or ``max`` over a document, or ``token``.
        documents: number of documents that have a score.
        min_documents: documents an expert had to be active in to be tested.
        fdr: false discovery rate of the verdicts.
        seed: of the shuffles.
        groups: one row per group:

            - group: number of the group.
            - seen: experts active in the scored documents.
            - tested: experts active in at least ``min_documents`` of them.
            - pearson:positive, pearson:negative: experts whose Pearson correlation is significant, by its sign.
            - spearman:positive, spearman:negative: the same for Spearman's.
        strongest: up to ten experts at each end of those that are significant by either correlation, from the most
            positive to the most negative; an expert is placed by its stronger significant correlation:

            - group, expert: the expert.
            - documents: documents it is active in.
            - pearson, spearman: its correlations.
            - q:pearson, q:spearman: the false discovery rates at which they are significant.
    """

    kind: ClassVar[str] = "scores"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet scores"

    column: str
    unit: str
    documents: int
    min_documents: int
    fdr: float
    seed: int
    groups: pd.DataFrame
    strongest: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """The attributes in JSON types, tables as lists of rows."""
        return fields_of(self) | {name: getattr(self, name).to_dict("records") for name in ("groups", "strongest")}

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The summary that ``to_json`` describes."""
        return cls(
            column=stored["column"],
            unit=stored["unit"],
            documents=stored["documents"],
            min_documents=stored["min_documents"],
            fdr=stored["fdr"],
            seed=stored["seed"],
            groups=rows_table(stored["groups"], GROUP_COLUMNS),
            strongest=rows_table(stored["strongest"], STRONGEST_COLUMNS),
        )

    @classmethod
    def upgrade(cls, stored: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 0 had no header, and no ``q:spearman`` of the strongest."""
        return stored | {"strongest": [{"q:spearman": np.nan} | row for row in stored["strongest"]]}


def read_scores(run: Run, group: int, *, name: str | None = None) -> pd.DataFrame:
    """Return the correlations of a group's experts that ``correlate_scores`` stored last.

    Args:
        run: an opened run.
        group: number of the group.
        name: name the result was kept under; by default the unnamed one.

    Returns:
        One row per expert active in the scored documents; the index is ``expert``, ascending. Columns:

        - documents: documents the expert is active in, near copies counted once.
        - pearson, spearman: correlation with the score; NaN for an expert that is the same everywhere.
        - pearson:low, pearson:high, spearman:low, spearman:high: ends of its 95 % interval.
        - p:pearson, p:spearman: p-value against shuffled scores; NaN where too few documents were seen for a test.
        - q:pearson, q:spearman: false discovery rate at which it is significant (Benjamini & Hochberg 1995).

    Raises:
        NotFoundError: the run has no such group.
        NotAnalysedError: no scores of the run have been correlated.
        DamagedError: the stored table is truncated or changed.
        UnsupportedError: it belongs to another run, or this version of the workbench does not read it.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_scores
        >>> try:
        ...     table = read_scores(open_run("runs/demo"), 0, name="toxicity")
        ... except ValueError as error:
        ...     print("monet scores" in str(error))  # the message names the command that computes it
        True
    """
    return read_group_table(run, ScoreSummary, group, EXPERT_COLUMNS, name)


def read_score_summary(run: Run, *, name: str | None = None) -> ScoreSummary | None:
    """Return the summary that ``correlate_scores`` stored last, or None where there is none.

    Args:
        run: an opened run.
        name: name the result was kept under; by default the unnamed one.

    Raises:
        DamagedError: the stored summary is truncated or changed.
        UnsupportedError: it belongs to another run, or this version of the workbench does not read it.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_score_summary
        >>> print(read_score_summary(open_run("runs/demo")))  # `monet scores` has not been run: its texts have no score
        None
    """
    return read_result(run, ScoreSummary, name)
