"""What `monet analyze` keeps: one table per group and a summary. Reading them imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from ...errors import BadInputError, NotAnalysedError, shell_command
from ..defaults import FDR, MIN_TOKENS, PERMUTATIONS, RATIO
from ..results import Result, read_result, read_table, result_path, write_table
from .precision import Precision
from .replication_result import Replication

if TYPE_CHECKING:
    from ...store import Run

NO_LABEL = ""  # in the column `specialised`
OLD_COLUMNS = {f"{test}score": f"{test}monosemanticity" for test in ("", "p:", "q:")}  # of version 0


@dataclass(frozen=True)
class Settings:
    """How experts are called specialised, and how that is tested; fields as for ``analyze_run``."""

    ratio: float = RATIO
    min_tokens: int = MIN_TOKENS
    permutations: int = PERMUTATIONS
    fdr: float = FDR
    seed: int = 0

    def __post_init__(self) -> None:
        if self.permutations < 0:
            raise BadInputError(f"permutations must not be negative, got {self.permutations}.")
        if not 0 < self.fdr < 1:
            raise BadInputError(f"fdr must lie between 0 and 1, got {self.fdr}.")


@dataclass(frozen=True)
class Summary(Result):
    """Counts of a run's specialised experts, as `monet analyze` prints them.

    Attributes:
        settings: of the analysis.
        seen: group -> experts active at least once.
        specialised: specialised experts by group (index) and label (columns): the paper's Table 10.
        confirmed: those of them whose ratio is significant, likewise; None where nothing was tested.
        replication: how many have the same label on disjoint halves of the documents; None where no two labels have
            documents with routing in both halves, and in results of version 1.
        precision: that a sample of the documents gives; None where the routing of all was read.
    """

    kind: ClassVar[str] = "experts"
    version: ClassVar[int] = 2
    command: ClassVar[str] = "monet analyze"

    settings: Settings
    seen: dict[int, int]
    specialised: pd.DataFrame
    confirmed: pd.DataFrame | None
    replication: Replication | None = None
    precision: Precision | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the settings, the labels, and the counts per group and over all groups, in JSON types."""
        counts = {"specialised": self.specialised}
        if self.confirmed is not None:
            counts["confirmed"] = self.confirmed
        return {
            **asdict(self.settings),
            "labels": list(self.specialised.columns),
            "groups": [
                {"group": group, "seen": seen} | {name: table.loc[group].to_dict() for name, table in counts.items()}
                for group, seen in self.seen.items()
            ],
            **{name: table.sum().to_dict() for name, table in counts.items()},
            "replication": None if self.replication is None else self.replication.to_json(),
            **({} if self.precision is None else {"precision": self.precision.to_json()}),
        }

    @classmethod
    def upgrade(cls, stored: dict[str, Any], version: int) -> dict[str, Any]:
        """Before version 2 nothing was looked at on halves."""
        return stored | {"replication": None}

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The summary that ``to_json`` describes."""
        groups = stored["groups"]

        def counts(name: str) -> pd.DataFrame:
            rows = {row["group"]: [row[name][label] for label in stored["labels"]] for row in groups}
            return pd.DataFrame.from_dict(rows, orient="index", columns=stored["labels"]).rename_axis("group")

        return cls(
            settings=Settings(**{name: stored[name] for name in Settings.__dataclass_fields__}),
            seen={row["group"]: row["seen"] for row in groups},
            specialised=counts("specialised"),
            confirmed=counts("confirmed") if "confirmed" in stored else None,
            replication=None if stored["replication"] is None else Replication.from_json(stored["replication"]),
            precision=Precision.from_json(stored["precision"]) if "precision" in stored else None,
        )


def table_name(group: int) -> str:
    """File of a group's table in ``RUN/analysis``."""
    return f"experts-group-{group}.parquet"


def write_analysis(run: Run, group: int, table: pd.DataFrame, name: str | None = None) -> None:
    """Keep a group's table, in place of the last one of that name."""
    write_table(run, Summary, table_name(group), table, name)


def has_analysis(run: Run, group: int, name: str | None = None) -> bool:
    """Whether ``read_analysis`` has something to read."""
    return result_path(run, table_name(group), name).is_file()


def read_analysis(run: Run, group: int, name: str | None = None) -> pd.DataFrame:
    """Return what ``analyze_run`` computed for a group: one row per expert active at least once.

    Args:
        run: an opened run.
        group: number of the routing group.
        name: of the analysis, where it was kept under one.

    Returns:
        Index ``expert`` (flat id ``i * E + j``), ascending. Columns:

        - ``specialised``: the label the expert is specialised in, or ``""`` for none;
        - ``{score}``: one column per score in ``SCORES``, which has its definition, unit and source: among them
          ``monosemanticity``, ``ratio``, ``selectivity``, ``information`` and ``vocabulary_entropy``;
          ``coherence:residual`` and ``coherence:encoder`` only if they were asked for;
        - ``share:{label}``: the label's part of the expert's mass, labels weighted as though all were of one size;
        - ``token_entropy``, ``interest``: of the expert's best tokens, as ``interest`` has them; older files lack
          them;
        - ``p:{score}``: how often the score's null is at least as extreme; no such column if ``permutations`` was 0;
        - ``q:{score}``: false discovery rate, over the group, at which that is significant (Benjamini & Hochberg);
        - ``confirmed``: specialised, and the ratio significant at the rate asked for.

        p- and q-values, and scores read from routing, are NaN for experts active at fewer than ``min_tokens`` tokens.
        Where a run keeps the routing of some documents only, these rest on those; all else is of every document.

    Raises:
        NotFoundError: the run has no such group.
        NotAnalysedError: it has not been analysed.
        DamagedError: the file is cut or changed.
        UnsupportedError: the file belongs to another run, or was written by a newer version.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import SCORES, read_analysis
        >>> run = open_run("runs/demo")
        >>> experts = read_analysis(run, group=0)
        >>> experts.columns[:5].tolist()
        ['specialised', 'monosemanticity', 'ratio', 'selectivity', 'information']
        >>> bool((experts.loc[experts["specialised"] != "", "ratio"] >= 2).all())
        True
        >>> SCORES["vocabulary_entropy"].unit
        'nats'
    """
    if not has_analysis(run, run.check_group(group), name):
        kept_as = f" under the name {name!r}" if name else ""
        command = shell_command("analyze", run.path, *(("--name", name) if name else ()))
        raise NotAnalysedError(f"{run.path} has not been analysed{kept_as}; run `{command}`.")
    return read_table(run, Summary, table_name(group), name).rename(columns=OLD_COLUMNS).set_index("expert")


def read_analysis_summary(run: Run, name: str | None = None) -> Summary | None:
    """Return the settings and counts of the last ``analyze_run``; None where there are none.

    Args:
        run: an opened run.
        name: of the analysis, where it was kept under one.

    Raises:
        DamagedError: the file is cut or changed.
        UnsupportedError: the file belongs to another run, or was written by a newer version.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_analysis_summary
        >>> run = open_run("runs/demo")
        >>> summary = read_analysis_summary(run)
        >>> summary.settings.ratio
        2.0
        >>> summary.specialised.columns.tolist() == run.labels
        True
    """
    return read_result(run, Summary, name)
