"""The result of `monet evaluate-code`: completions of programming problems, which of them passed, and pass@k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .evaluation_result import COLUMNS
from .pass_at_k import pass_at_k
from .sandbox import PASSED


@dataclass(frozen=True)
class CodeResult:
    """What a model wrote for programming problems, and how it ran.

    Attributes:
        completions: one row per sample. Columns:

            - ``problem``, ``language``: the problem's;
            - ``sample``: number of the sample, from 0;
            - ``text``: the completion, cut where it ends;
            - ``outcome``: ``passed``, ``failed``, ``timed out`` or ``stopped at a limit``;
            - ``output``: the end of what the program printed.

        k: the numbers of draws that pass@k was asked for.
        isolated: whether the programs had no network and could not outlive their end.
        settings: of sampling and limits.
    """

    completions: pd.DataFrame
    k: list[int]
    isolated: bool
    settings: dict[str, Any]

    @property
    def problems(self) -> pd.DataFrame:
        """One row per problem: ``problem``, ``language``, ``samples``, ``passed`` and ``pass@{k}`` for every k."""
        grouped = self.completions.assign(passed=self.completions["outcome"] == PASSED).groupby(
            ["problem", "language"], sort=False
        )["passed"]
        table = grouped.agg(samples="size", passed="sum").reset_index()
        for k in self.k:
            table[f"pass@{k}"] = [pass_at_k(n, c, k) for n, c in zip(table["samples"], table["passed"], strict=True)]
        return table

    @property
    def table(self) -> pd.DataFrame:
        """pass@k of each language, the mean over its problems; columns as in ``EvaluationResult.table``."""
        rows = []
        for language, group in self.problems.groupby("language", sort=False):
            for k in self.k:
                values = group[f"pass@{k}"].to_numpy()
                spread = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
                rows.append((language, f"pass@{k}", "none", float(values.mean()), float(spread), len(values), True))
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON types; NaN where one problem has no standard error."""
        return {
            "settings": self.settings,
            "isolated": self.isolated,
            "table": self.table.to_dict("records"),
            "problems": self.problems.to_dict("records"),
            "completions": self.completions.to_dict("records"),
        }
