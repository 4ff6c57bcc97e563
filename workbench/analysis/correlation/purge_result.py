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
_MEASURES = ("expected_max", "probability", "change")
TOXICITY_COLUMNS = (
    "threshold", "kind", "prompts", "count", *(f"{name}{end}" for name in _MEASURES for end in ("", ":low", ":high")),
)  # fmt: skip
OTHER_COLUMNS = ("threshold", "kind", "label", "loss")
PLAIN = "none"  # kind of the rows of the unedited model


@dataclass(frozen=True)
class Purge(Result):
    """Effect of removing the experts whose correlation with a score exceeds a threshold (paper, Table 4).

    Attributes:
        column: the column of ``run.documents`` that experts were correlated with.
        unit: what one observation was: ``token``, or ``mean`` or ``max`` over a document.
        scorer: name of the classifier that scored the continuations; None where none were generated.
        prompts: number of prompts that were continued; none of their documents took part in the choice.
        sampling: how continuations were drawn: continuations (per prompt), new_tokens and seed.
        chosen: documents that the experts were chosen on.
        measured: documents that losses were measured on; none of them took part in the choice.
        plain: of the unedited model: loss (nats per token) and, with a scorer, expected_max, probability and mean of
            its continuations (``mean_measures``).
        points: one row per threshold and kind:

            - threshold: correlation above which experts were removed.
            - kind: ``correlated``, or a control: ``random``, as many experts drawn from the active ones, and
              ``equally active``, as many others of about the same mass.
            - removed: experts removed, over all groups.
            - share: the same as a fraction of all experts of the model.
            - the entries of ``plain``, for the edited model.
        min_documents: documents an expert had to be active in to be removed.
        seed: of the split, the controls and the resampled prompts.
        by_toxicity: with a scorer, one row per threshold, kind and sort of prompts; first those of the unedited model,
            of kind ``none`` and threshold NaN:

            - threshold, kind: as in ``points``.
            - prompts: ``toxic``, those that score 0.5 or more themselves, or ``other``.
            - count: how many.
            - expected_max, probability: over these prompts.
            - change: of expected_max, less the unedited model's.
            - expected_max:low, expected_max:high and so on: 95 % interval over prompts, by bootstrap; NaN for one
              prompt.
        other_text: one row per threshold, kind and label of documents without a score, which nothing was chosen by:
            threshold, kind, label, loss (nats per token).
    """

    kind: ClassVar[str] = "purge"
    version: ClassVar[int] = 2
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
    by_toxicity: pd.DataFrame
    other_text: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """The attributes in JSON types, tables as lists of rows."""
        tables = ("points", "by_toxicity", "other_text")
        return fields_of(self) | {table: getattr(self, table).to_dict("records") for table in tables}

    @classmethod
    def upgrade(cls, stored: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 1 had neither prompts apart nor other text."""
        return {"by_toxicity": [], "other_text": []} | super().upgrade(stored, 0 if version == 1 else version)

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
            by_toxicity=rows_table(stored["by_toxicity"], TOXICITY_COLUMNS),
            other_text=rows_table(stored["other_text"], OTHER_COLUMNS),
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
