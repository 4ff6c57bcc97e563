"""The result of `monet compare`: the divergence of two models' next-token distributions, by token and by label."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from ..results import Result, read_result, source_of

if TYPE_CHECKING:
    from ...store import Run


@dataclass(frozen=True)
class Divergence(Result):
    """How far two models' next-token distributions are apart, on a sample of the documents of their runs.

    Attributes:
        other: name of the other run.
        documents: documents measured.
        seed: of their choice and of the bootstrap.
        level: of confidence of the intervals.
        labels: one row per label that has measured tokens, and a last one, of label "", for all of them. Columns:

            - ``label``: the label;
            - ``documents``, ``tokens``: how many were measured;
            - ``kl``: mean divergence, nats per token;
            - ``low``, ``high``: its confidence interval.

        tokens: one row per measured token, in order: doc, row, token, label and kl; see ``token_divergence``.
    """

    kind: ClassVar[str] = "divergence"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet compare"
    tables: ClassVar[tuple[str, ...]] = ("labels", "tokens")

    other: str
    documents: int
    seed: int
    level: float
    labels: pd.DataFrame
    tokens: pd.DataFrame

    def largest(self, n: int) -> pd.DataFrame:
        """The ``n`` tokens of largest divergence, largest first; of equal ones the earlier comes first."""
        return self.tokens.sort_values(["kl", "row"], ascending=[False, True], ignore_index=True).head(n)

    @classmethod
    def command_line(cls, run: Run, name: str | None) -> str:
        """The command that computes it; the name it is kept under says which other run only to programs."""
        return f"{cls.command} {shlex.quote(str(run.path))} OTHER"

    def to_json(self) -> dict[str, Any]:
        """Return the settings, in JSON types; the tables are kept as Parquet."""
        return {"other": self.other, "documents": self.documents, "seed": self.seed, "level": self.level}

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` and the tables describe."""
        settings = {name: stored[name] for name in ("other", "documents", "seed", "level")}
        return cls(**settings, labels=tables["labels"], tokens=tables["tokens"])


def result_name(other: Run) -> str:
    """What a run keeps its comparison with another run under; it changes where the other is exported anew."""
    return f"against-{source_of(other)}"


def read_divergence(run: Run, other: Run) -> Divergence | None:
    """Return the stored result of ``compare_runs``; None where there is none.

    Args:
        run: an opened run.
        other: the run that it was compared with.

    Raises:
        DamagedError: the file is cut or changed.
        UnsupportedError: the file is of a version that cannot be read.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_divergence
        >>> run = open_run("runs/demo")
        >>> found = read_divergence(run, run)  # None before `monet compare` has been run
        >>> found is None or found.documents > 0
        True
    """
    return read_result(run, Divergence, result_name(other))


def run_name(run: Run) -> str:
    """Name of a run: its folder's."""
    return Path(run.path).resolve().name
