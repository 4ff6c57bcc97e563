"""What removing the experts of each label did: the result of `monet mask`, and where a run keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...store.files import write_json, write_parquet

if TYPE_CHECKING:
    from ...store import Run

Floats = NDArray[np.float64]
RESULT, DOCUMENTS = "mask.json", "mask-documents.parquet"
_ARRAYS = ("baseline", "matrix", "control", "equal", "baseline_accuracy", "accuracy")
_GIVEN = ("labels", "rows", "removed_by_group", "ratio", "min_tokens", "seed")


@dataclass(frozen=True)
class MaskResult:
    """What removing the experts of each label does to every label, on documents that had no part in choosing them.

    Losses are means over the predicted tokens of a label, in nats. R is the number of labels removed, L that of labels.

    Attributes:
        labels: the labels measured.
        rows: the labels removed; all of them unless some were asked for.
        baseline: (L,) loss of the unedited model.
        matrix: (R, L) rise in loss; row: label removed, column: label measured.
        control: (R, L) the same where as many random active experts a group are removed.
        equal: (R, L) the same where as many others are removed that are about as active.
        baseline_accuracy, accuracy: (L,) and (R, L) share of tokens that the model, edited for the latter, ranks first.
        removed: experts removed for each row, over all groups.
        removed_by_group: (R, groups) the same, by group.
        documents: one row a measured document: doc, label, tokens (predicted), loss (sum), and for each row
            ``loss:{label}``, ``control:{label}`` and ``equal:{label}`` (sums with its experts, as many random or as
            many equally active ones removed).
        ratio, min_tokens, seed: how experts were chosen, see :func:`mask_labels`.
    """

    labels: list[str]
    rows: list[str]
    baseline: Floats
    matrix: Floats
    control: Floats
    equal: Floats
    baseline_accuracy: Floats
    accuracy: Floats
    removed_by_group: list[list[int]]
    documents: pd.DataFrame
    ratio: float
    min_tokens: int
    seed: int

    @property
    def removed(self) -> list[int]:
        """Experts removed for each row, over all groups."""
        return [sum(counts) for counts in self.removed_by_group]

    @property
    def baseline_perplexity(self) -> Floats:
        """(L,) perplexity of the unedited model."""
        return np.exp(self.baseline)

    @property
    def perplexity(self) -> Floats:
        """(R, L) perplexity of each label with the experts of another removed: exp of the loss."""
        return np.exp(self.baseline + self.matrix)

    @property
    def own(self) -> NDArray[np.bool_]:
        """(R, L) True where the label removed is the one measured."""
        return np.array(self.rows)[:, None] == np.array(self.labels)

    @property
    def delta_target(self) -> float:
        """Mean rise of the labels whose experts are removed."""
        return float(self.matrix[self.own].mean())

    @property
    def delta_others(self) -> float:
        """Mean rise of the other labels."""
        return float(self.matrix[~self.own].mean())

    @property
    def selectivity(self) -> float:
        """``delta_target / delta_others``; NaN where the others do not rise, for then a ratio says nothing."""
        return self.delta_target / self.delta_others if self.delta_others > 0 else float("nan")

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without the documents; ``selectivity`` is null where it is NaN."""
        controls = {"control": self.control, "equal": self.equal}
        return {
            "labels": self.labels,
            "rows": self.rows,
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
        }


def write_mask(run: Run, result: MaskResult) -> None:
    """Keeps a result in ``RUN/analysis``; the JSON comes last, and :func:`read_mask` looks for it first."""
    write_parquet(run.analysis_path(DOCUMENTS), pa.Table.from_pandas(result.documents, preserve_index=False))
    write_json(run.analysis_path(RESULT), result.to_json())


def read_mask(run: Run) -> MaskResult | None:
    """The result of the last :func:`mask_labels` over all labels of a run; None where there is none.

    One that an older version kept, with fewer controls, counts as none.
    """
    path = run.analysis_path(RESULT)
    if not path.is_file():
        return None
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not stored.keys() >= {*_GIVEN, *_ARRAYS}:
        return None
    fields: dict[str, Any] = {name: stored[name] for name in _GIVEN}
    fields |= {name: np.array(stored[name]) for name in _ARRAYS}
    return MaskResult(**fields, documents=pq.read_table(run.analysis_path(DOCUMENTS)).to_pandas())
