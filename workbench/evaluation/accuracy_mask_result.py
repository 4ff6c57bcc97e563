"""The result of `monet mask --measure accuracy`: what ablating each label's experts does to accuracies on tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..analysis.results import Result, read_result

if TYPE_CHECKING:
    from ..store import Run

Floats = NDArray[np.float64]
ARRAYS = ("baseline", "baseline_stderr", "accuracy", "stderr")
SETTINGS = (
    "labels",
    "skipped",
    "domains",
    "tasks",
    "documents",
    "removed_by_group",
    "ratio",
    "min_tokens",
    "seed",
    "confirmed",
    "limit",
    "num_fewshot",
    "lm_eval_version",
)


@dataclass(frozen=True)
class AccuracyMask(Result):
    """What ablating each label's specialised experts does to the accuracy on every domain of some tasks.

    R is the number of labels ablated, D the number of domains. Accuracies are fractions of the questions answered
    rightly (the harness' ``acc``).

    Attributes:
        labels: the labels of the run that were ablated.
        domains: names of what was measured: of tasks, or of the members of a group of tasks.
        tasks: the name that each domain has in the harness.
        baseline: (D,) accuracy of the unedited model; ``baseline_stderr``: its standard error over questions.
        accuracy: (R, D) of the ablated model; row: label ablated, column: domain; ``stderr``: their standard errors.
        documents: (D,) questions of each domain.
        removed_by_group: (R, groups) experts ablated.
        skipped: labels of the run that have too few documents to be split.
        ratio, min_tokens, seed, confirmed: as for ``mask_labels``, which ablates the same experts.
        limit, num_fewshot: as for ``evaluate_model``.
        lm_eval_version: of the harness.
    """

    kind: ClassVar[str] = "mask-accuracy"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet mask --measure accuracy --tasks TASKS"

    labels: list[str]
    domains: list[str]
    tasks: list[str]
    baseline: Floats
    baseline_stderr: Floats
    accuracy: Floats
    stderr: Floats
    documents: list[int]
    removed_by_group: list[list[int]]
    ratio: float
    min_tokens: int
    seed: int
    confirmed: bool
    limit: int | None
    num_fewshot: int | None
    lm_eval_version: str
    skipped: list[str] = field(default_factory=list)

    @property
    def matrix(self) -> Floats:
        """(R, D) change in accuracy, as a fraction: below 0 where ablation hurts."""
        return self.accuracy - self.baseline

    @property
    def removed(self) -> list[int]:
        """(R,) experts ablated for each label, over all groups."""
        return [sum(counts) for counts in self.removed_by_group]

    @property
    def own(self) -> NDArray[np.bool_]:
        """(R, D) True where the domain measured has the label's name, whatever the case, blanks, _ and - in them."""
        return np.array([[_plain(label) == _plain(domain) for domain in self.domains] for label in self.labels])

    @property
    def delta_target(self) -> float:
        """Mean change in accuracy on the domain of the label ablated; NaN where no domain has a label's name."""
        return float(self.matrix[self.own].mean()) if self.own.any() else float("nan")

    @property
    def delta_others(self) -> float:
        """Mean change on the other domains, of the labels that have a domain of their name; NaN where none has."""
        named = self.own.any(1)
        others = self.matrix[named][~self.own[named]]
        return float(others.mean()) if others.size else float("nan")

    def table(self) -> pd.DataFrame:
        """Accuracies, one row per ablation: the index ``ablated`` is ``none`` or a label; one column per domain.

        A label that is named ``none`` comes after the unedited row, as every label does.
        """
        return pd.DataFrame(
            np.vstack([self.baseline, self.accuracy]),
            index=pd.Index(["none", *self.labels], name="ablated"),
            columns=self.domains,
        )

    def to_json(self) -> dict[str, Any]:
        """All fields in JSON types, with ``matrix``, ``removed``, ``delta_target`` and ``delta_others``."""
        return {
            **{name: getattr(self, name) for name in SETTINGS},
            **{name: getattr(self, name).tolist() for name in ARRAYS},
            "matrix": self.matrix.tolist(),
            "removed": self.removed,
            **{name: None if np.isnan(value) else value for name, value in self._deltas().items()},
        }

    def _deltas(self) -> dict[str, float]:
        return {"delta_target": self.delta_target, "delta_others": self.delta_others}

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` describes."""
        fields: dict[str, Any] = {name: stored[name] for name in SETTINGS}
        fields |= {name: np.array(stored[name], np.float64) for name in ARRAYS}
        return cls(**fields)


def read_accuracy_mask(run: Run, name: str | None = None) -> AccuracyMask | None:
    """Return the stored result of ``mask_accuracy``; None where there is none.

    Args:
        run: an opened run.
        name: that the result was kept under; None for the unnamed one, which is over all labels.

    Raises:
        DamagedError: the file is cut or changed.
        UnsupportedError: the file is of a version that cannot be read, or belongs to another run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.evaluation import read_accuracy_mask
        >>> read_accuracy_mask(open_run("runs/demo")) is None  # no tasks were evaluated on the demo
        True
    """
    return read_result(run, AccuracyMask, name)


def _plain(name: str) -> str:
    """A name for comparison: MMLU-Pro writes `computer science`, file names `computer_science`."""
    return name.casefold().replace("_", " ").replace("-", " ").strip()
