"""The result of `monet evaluate`: metrics of tasks, under the harness' names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

COLUMNS = ("task", "metric", "filter", "value", "stderr", "documents", "higher_is_better")
KEPT = ("results", "groups", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples")


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of a model on tasks.

    Attributes:
        table: one row per task or group, metric and filter. Columns:

            - ``task``: its name in the harness; a group's row is the mean over its tasks, as the group says;
            - ``metric``: such as ``acc``, ``acc_norm``, ``word_perplexity``;
            - ``filter``: what was done to the answers before they were scored; ``none`` for nothing;
            - ``value``: in the metric's unit; accuracies are fractions;
            - ``stderr``: standard error over documents; NaN where the harness gives none;
            - ``documents``: how many were evaluated;
            - ``higher_is_better``: True, False, or None where the harness does not say.

        harness: what the harness itself returned, JSON types only: ``results``, ``configs``, ``versions``, ``n-shot``,
            ``n-samples``, ``higher_is_better``, ``group_subtasks`` and, where there are any, ``groups``.
        settings: ``tasks``, ``limit``, ``num_fewshot``, ``batch_size``, ``seed``, ``edited_experts`` (how many experts
            the edit scales, 0 without one) and ``lm_eval_version``.
    """

    table: pd.DataFrame
    harness: dict[str, Any]
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The settings, the rows of the table, and all that the harness returned, under its own keys."""
        rows = [
            {name: None if isinstance(value, float) and value != value else value for name, value in row.items()}
            for row in self.table.to_dict("records")
        ]
        return {"settings": self.settings, "table": rows, **self.harness}


def metrics_table(found: dict[str, Any]) -> pd.DataFrame:
    """The metrics in what ``lm_eval.evaluate`` returns, one per row; columns as in ``EvaluationResult``."""
    rows = []
    for task, metrics in found["results"].items():
        for key, value in metrics.items():
            metric, comma, chosen = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            stderr = metrics.get(f"{metric}_stderr,{chosen}")
            documents = metrics.get("sample_count", {}).get(key, metrics.get("sample_len", 0))
            better = found["higher_is_better"].get(task, {}).get(metric)
            rows.append((task, metric, chosen, value, _number(stderr), documents, better))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"higher_is_better": object})


def _number(value: Any) -> float:
    """A standard error; the harness writes "N/A" where there is none."""
    return float(value) if isinstance(value, int | float) else float("nan")
