"""`monet analyze`: which label each expert is specialised in, and how far; derived from a run's statistics alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import WorkbenchError
from ..progress import job
from ..store.files import write_parquet
from .selectivity import MIN_TOKENS, RATIO, label_shares, monosemanticity, specialised_label

if TYPE_CHECKING:
    from ..store import Run

GENERALIST = ""  # in the column `specialised`


@dataclass(frozen=True)
class Summary:
    """What `monet analyze` found.

    Attributes:
        ratio, min_tokens: the rule, as :func:`analyze_run` takes it.
        seen: group -> experts active at least once.
        specialised: specialised experts by group (index) and label (columns): the paper's Table 10.
    """

    ratio: float
    min_tokens: int
    seen: dict[int, int]
    specialised: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "ratio": self.ratio,
            "min_tokens": self.min_tokens,
            "labels": list(self.specialised.columns),
            "groups": [
                {"group": group, "seen": seen, "specialised": self.specialised.loc[group].to_dict()}
                for group, seen in self.seen.items()
            ],
            "specialised": self.specialised.sum().to_dict(),
        }


def analyze_run(run: Run, *, ratio: float = RATIO, min_tokens: int = MIN_TOKENS, progress: bool = False) -> Summary:
    """Shares, specialisation and monosemanticity of every expert seen; written to ``RUN/analysis``.

    Labels are weighted by their size (:func:`~workbench.analysis.selectivity.label_shares`). An expert is specialised
    in a label if its rate there is at least ``ratio`` times its second rate and it was active at ``min_tokens`` tokens
    or more (:func:`~workbench.analysis.selectivity.specialised_label`).

    Args:
        run: an opened run.
        ratio: first rate over second rate.
        min_tokens: active tokens an expert needs to be called specialised.
        progress: show groups, rate and time left.

    Raises:
        WorkbenchError: the ratio or minimum makes no sense, or the run has fewer than two labels.
    """
    check_rule(ratio, min_tokens)
    if len(run.labels) < 2:
        raise WorkbenchError(
            f"{run.path} has one label, {run.labels[0]!r}; experts are compared between two labels or more."
        )
    label_tokens = run.label_tokens[run.labels].to_numpy()
    seen, counts = {}, {}
    with job("analyze", len(run.groups), "groups", progress) as report:
        for group in run.groups:
            table = derive(run.experts(group), run.labels, label_tokens, ratio, min_tokens)
            metadata = {"ratio": str(ratio), "min_tokens": str(min_tokens)}
            arrow = pa.Table.from_pandas(table.reset_index(), preserve_index=False)
            write_parquet(run.analysis_path(_name(group)), arrow.replace_schema_metadata(metadata))
            seen[group] = len(table)
            counts[group] = table["specialised"].value_counts().reindex(run.labels, fill_value=0)
            report(1)
    return Summary(ratio, min_tokens, seen, pd.DataFrame(counts).T.rename_axis("group"))


def check_rule(ratio: float, min_tokens: int) -> None:
    """Raises WorkbenchError where no specialisation rule can be made of these."""
    if not ratio >= 1 or not np.isfinite(ratio):
        raise WorkbenchError(f"ratio must be a number of at least 1 (the paper's rule has 2), got {ratio}.")
    if min_tokens < 1:
        raise WorkbenchError(f"min_tokens must be at least 1, got {min_tokens}.")


def derive(
    experts: pd.DataFrame, labels: list[str], label_tokens: np.ndarray, ratio: float, min_tokens: int
) -> pd.DataFrame:
    """What statistics of experts say of their labels.

    Args:
        experts: as ``Run.experts`` gives them.
        labels: the run's labels.
        label_tokens: (labels,) tokens of each.
        ratio, min_tokens: the rule.

    Returns:
        Index ``expert``; columns specialised (label, or ``""`` for a generalist), score (monosemanticity), then
        ``share:{label}`` for each label.
    """
    shares = label_shares(np.stack([experts[f"mass:{label}"] for label in labels]), label_tokens)
    chosen = specialised_label(shares, experts["tokens"], ratio, min_tokens)
    names = np.array([*labels, GENERALIST], dtype=object)  # position -1 is the generalist's
    columns = {"specialised": names[chosen], "score": monosemanticity(shares)}
    columns |= {f"share:{label}": shares[number] for number, label in enumerate(labels)}
    return pd.DataFrame(columns, index=experts.index.rename("expert"))


def read_analysis(run: Run, group: int) -> pd.DataFrame:
    """What :func:`analyze_run` found of a group's experts, as :func:`derive` gives it.

    Raises:
        WorkbenchError: the run has no such group, or has not been analysed.
    """
    if group not in run.groups:
        raise WorkbenchError(f"there is no group {group}; {run.path} has the groups {', '.join(map(str, run.groups))}.")
    path = run.analysis_path(_name(group))
    if not path.is_file():
        raise WorkbenchError(f"{run.path} has not been analysed; run `monet analyze {run.path}`.")
    return pq.read_table(path).to_pandas().set_index("expert")


def _name(group: int) -> str:
    return f"experts-group-{group}.parquet"
