"""Stored effect of removing the experts that correlate with a per-document score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from ..results import Result, fields_of, read_result, rows_table

if TYPE_CHECKING:
    from ...store import Run

POINT_COLUMNS = ("threshold", "kind", "removed", "share")


@dataclass(frozen=True)
class Purge(Result):
    """Effect of removing the experts whose correlation with a score exceeds a threshold (paper, Table 4).

    Attributes:
        column: the column of ``run.documents`` that experts were correlated with.
        unit: what one observation was: ``token``, or ``mean`` or ``max`` over a document.
        scorer: name of the classifier that scored the continuations; None where none were generated.
        prompts: number of prompts that were continued.
        sampling: how continuations were drawn: continuations (per prompt), new_tokens and seed.
        chosen: documents that the experts were chosen on.
        measured: documents that losses were measured on; none of them took part in the choice.
        plain: of the unedited model: loss (nats per token) and, with a scorer, expected_max, probability and mean of
            its continuations (``continuation_scores``).
        points: one row per threshold and kind:

            - threshold: correlation above which experts were removed.
            - kind: ``correlated``, or the random control ``random``: as many experts drawn from the active ones.
            - removed: experts removed, over all groups.
            - share: the same as a fraction of all experts of the model.
            - the entries of ``plain``, for the edited model.
        min_documents: documents an expert had to be active in to be removed.
        seed: of the split and the control.
    """

    kind: ClassVar[str] = "purge"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet purge"

    column: str
    unit: str
    scorer: str | None
    prompts: int
    sampling: dict[str, int]
    chosen: int
    measured: int
    plain: dict[str, float]
    points: pd.DataFrame
    min_documents: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """The attributes in JSON types, points as a list of rows."""
        return fields_of(self) | {"points": self.points.to_dict("records")}

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` describes."""
        plain = {name: np.nan if value is None else float(value) for name, value in dict(stored["plain"]).items()}
        return cls(
            column=stored["column"],
            unit=stored["unit"],
            scorer=stored["scorer"],
            prompts=stored["prompts"],
            sampling=dict(stored["sampling"]),
            chosen=stored["chosen"],
            measured=stored["measured"],
            plain=plain,
            points=rows_table(stored["points"], [*POINT_COLUMNS, *plain]),
            min_documents=stored["min_documents"],
            seed=stored["seed"],
        )


def read_purge(run: Run, *, name: str | None = None) -> Purge | None:
    """Return the result that ``purge_scores`` stored last, or None where there is none.

    Args:
        run: an opened run.
        name: name the result was kept under; by default the unnamed one.

    Raises:
        DamagedError: the stored result is truncated or changed.
        UnsupportedError: it belongs to another run, or this version of the workbench does not read it.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_purge
        >>> print(read_purge(open_run("runs/demo")))  # `monet purge` has not been run
        None
    """
    return read_result(run, Purge, name)
