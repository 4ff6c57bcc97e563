"""The result of `monet mask`: what ablating the experts of each label does to the loss of every label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import deprecated

from ..results import Result, read_result

if TYPE_CHECKING:
    from ...store import Run

Floats = NDArray[np.float64]
ARRAYS = {  # attribute -> key of the document
    "baseline": "baseline",
    "matrix": "matrix",
    "control": "control",
    "activity_matched": "equal",
    "baseline_accuracy": "baseline_accuracy",
    "accuracy": "accuracy",
}
SETTINGS = ("labels", "rows", "skipped", "removed_by_group", "ratio", "min_tokens", "seed", "confirmed")


@dataclass(frozen=True)
class MaskResult(Result):
    """What ablating each label's specialised experts does to every label, on documents held out from choosing them.

    Losses are means over the predicted tokens of a label, in nats per token. R is the number of labels ablated, L the
    number of labels. Two controls ablate as many experts of each group.

    Attributes:
        labels: the labels measured.
        rows: the labels ablated; all of them by default.
        baseline: (L,) loss of the unedited model.
        matrix: (R, L) rise in loss; row: label ablated, column: label measured.
        control: (R, L) rise in loss under the random control: experts drawn from all active ones.
        activity_matched: (R, L) rise in loss under the activity-matched control: others about as active.
        baseline_accuracy: (L,) fraction of tokens that the unedited model ranks first.
        accuracy: (R, L) the same for the ablated model.
        removed_by_group: (R, groups) experts ablated.
        documents: one row per measured document. Columns:

            - ``doc``: number of the document;
            - ``unit``: number of the first document that it is a near copy of; its own otherwise. Results of version 1
              have no such column, as they knew no copies;
            - ``label``: its label;
            - ``tokens``: its predicted tokens;
            - ``loss``: sum over them of the unedited model's loss, nats;
            - ``loss:{row}``, ``control:{row}``, ``equal:{row}``: the same with the label's experts, the random control
              or the activity-matched control ablated.

        ratio, min_tokens, seed, confirmed: as for ``mask_labels``.
        skipped: labels of the run that have too few documents to be split, and are in nothing here.
    """

    kind: ClassVar[str] = "mask"
    version: ClassVar[int] = 3
    command: ClassVar[str] = "monet mask"
    tables: ClassVar[tuple[str, ...]] = ("documents",)

    labels: list[str]
    rows: list[str]
    baseline: Floats
    matrix: Floats
    control: Floats
    activity_matched: Floats
    baseline_accuracy: Floats
    accuracy: Floats
    removed_by_group: list[list[int]]
    documents: pd.DataFrame
    ratio: float
    min_tokens: int
    seed: int
    skipped: list[str] = field(default_factory=list)
    confirmed: bool = False

    @property
    @deprecated("MaskResult.equal is now MaskResult.activity_matched", category=DeprecationWarning)
    def equal(self) -> Floats:
        """(R, L) ``activity_matched`` under its old name."""
        return self.activity_matched

    @property
    def removed(self) -> list[int]:
        """(R,) experts ablated for each row, over all groups."""
        return [sum(counts) for counts in self.removed_by_group]

    @property
    def baseline_perplexity(self) -> Floats:
        """(L,) perplexity of the unedited model."""
        return np.exp(self.baseline)

    @property
    def perplexity(self) -> Floats:
        """(R, L) perplexity of each label (column) with the experts of another (row) ablated: exp of the loss."""
        return np.exp(self.baseline + self.matrix)

    @property
    def own(self) -> NDArray[np.bool_]:
        """(R, L) True where the label ablated is the one measured."""
        return np.array(self.rows)[:, None] == np.array(self.labels)

    @property
    def delta_target(self) -> float:
        """Mean rise in loss, nats per token, of the labels whose experts are ablated."""
        return float(self.matrix[self.own].mean())

    @property
    def delta_others(self) -> float:
        """Mean rise in loss, nats per token, of the other labels."""
        return float(self.matrix[~self.own].mean())

    @property
    def selectivity(self) -> float:
        """``delta_target / delta_others``; NaN where the others' loss does not rise, as a ratio then means nothing."""
        return self.delta_target / self.delta_others if self.delta_others > 0 else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Return all but the documents, in JSON types; ``selectivity`` is None where it is NaN.

        The activity-matched control has the keys ``equal``, ``equal_target`` and ``equal_others``.
        """
        controls = {"control": self.control, "equal": self.activity_matched}
        return {
            "labels": self.labels,
            "rows": self.rows,
            "skipped": self.skipped,
            "matrix": self.matrix.tolist(),
            "perplexity": self.perplexity.tolist(),
            "baseline": self.baseline.tolist(),
            "baseline_perplexity": self.baseline_perplexity.tolist(),
            **{name: values.tolist() for name, values in controls.items()},
            "accuracy": self.accuracy.tolist(),
            "baseline_accuracy": self.baseline_accuracy.tolist(),
            "removed": self.removed,
            "removed_by_group": self.removed_by_group,
            "delta_target": self.delta_target,
            "delta_others": self.delta_others,
            "selectivity": None if np.isnan(self.selectivity) else self.selectivity,
            **{f"{name}_target": float(values[self.own].mean()) for name, values in controls.items()},
            **{f"{name}_others": float(values[~self.own].mean()) for name, values in controls.items()},
            "ratio": self.ratio,
            "min_tokens": self.min_tokens,
            "seed": self.seed,
            "confirmed": self.confirmed,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` and the documents describe."""
        fields: dict[str, Any] = {name: stored[name] for name in SETTINGS}
        fields |= {name: np.array(stored[key], np.float64) for name, key in ARRAYS.items()}
        return cls(**fields, documents=tables["documents"])

    @classmethod
    def upgrade(cls, stored: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 3 can be of confirmed experts only; before version 2 a run with a label to skip was refused."""
        return {"skipped": [], "confirmed": False} | stored


def read_mask(run: Run, name: str | None = None) -> MaskResult | None:
    """Return the stored result of ``mask_labels``; None where there is none.

    Args:
        run: an opened run.
        name: that the result was kept under; None for the unnamed one, which is over all labels.

    Raises:
        DamagedError: the file is cut or changed.
        UnsupportedError: the file is of a version that cannot be read, or belongs to another run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_mask
        >>> result = read_mask(open_run("runs/demo"))
        >>> result.matrix.shape == (len(result.rows), len(result.labels))
        True
        >>> result.delta_target > result.delta_others  # ablation hurts the label itself most
        True
    """
    return read_result(run, MaskResult, name)
