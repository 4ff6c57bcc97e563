"""`monet scores`: how each expert goes with a number that the texts carry, such as their toxicity."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import rankdata

from ...errors import WorkbenchError
from ...progress import Progress, job, silent
from ...store.files import write_json, write_parquet
from ..activations import key_edges
from ..significance import benjamini_hochberg, pooled_p
from .cells import check_unit, read_cells
from .coefficients import Cells, Floats, PearsonSums, pearson_interval, rank_correlations, spearman_interval

if TYPE_CHECKING:
    from ...store import Run

SHUFFLES = 10  # of the scores among documents: the null, pooled over experts
MIN_DOCUMENTS = 10
FDR = 0.05
SHOWN = 10  # experts at either end in the summary
LEAST = 4  # documents that an interval needs
RESULT = "scores.json"
KINDS = ("pearson", "spearman")


@dataclass(frozen=True)
class ScoreSummary:
    """What `monet scores` found.

    Attributes:
        column: of the documents that was correlated.
        unit: as :func:`correlate_scores` took it.
        documents: how many have a number.
        min_documents, fdr, seed: as :func:`correlate_scores` took them.
        groups: one row a group: group, seen (experts active in these documents), tested, and for each kind of
            correlation ``{kind}:positive`` and ``{kind}:negative``, experts significant at ``fdr``.
        strongest: the experts of largest and of smallest Pearson correlation among the significant ones: group, expert,
            documents, pearson, spearman and ``q:pearson``.
    """

    column: str
    unit: str
    documents: int
    min_documents: int
    fdr: float
    seed: int
    groups: pd.DataFrame
    strongest: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the attributes, tables as lists of rows."""
        names = ("column", "unit", "documents", "min_documents", "fdr", "seed")
        tables = {name: getattr(self, name).to_dict("records") for name in ("groups", "strongest")}
        return {name: getattr(self, name) for name in names} | tables


def scored_documents(run: Run, column: str) -> pd.DataFrame:
    """The documents that have tokens, kept routing and a finite number in ``column``, which is then called ``y``.

    Raises:
        WorkbenchError: no such column of numbers, fewer than :data:`LEAST` such documents, or one number for all.
    """
    documents = run.documents[(run.documents["tokens"] > 0) & run.documents["kept"]]
    numbers = list(documents.select_dtypes("number"))
    if column not in numbers:
        raise WorkbenchError(f"{run.path} has no numbers {column!r} of documents; it has {', '.join(numbers)}.")
    y = documents[column].to_numpy(np.float64)
    chosen = documents[np.isfinite(y)].assign(y=y[np.isfinite(y)]).reset_index(drop=True)
    if len(chosen) < LEAST or chosen["y"].nunique() < 2:
        raise WorkbenchError(
            f"{run.path} has {len(chosen)} documents with a {column} and {chosen['y'].nunique()} different ones; a "
            f"correlation needs {LEAST} and 2. `monet corpus score` gives the texts of a corpus a score, before export."
        )
    return chosen


def correlate_scores(
    run: Run,
    *,
    column: str = "score",
    unit: str = "mean",
    min_documents: int = MIN_DOCUMENTS,
    fdr: float = FDR,
    seed: int = 0,
    progress: bool = False,
) -> ScoreSummary:
    """Pearson's and Spearman's correlation of every expert with a number of the texts; written to ``RUN/analysis``.

    The paper (5.3, D.3) correlates over tokens, each with its text's toxicity: ``unit="token"``. Tokens of one text are
    no independent observations, though, so by default documents are the units, and an expert's value is its mean
    routing score over all tokens of a document, or its largest. Everything is computed exactly from the routing as it
    was stored, in float64.

    Intervals are for as many independent units as there are documents, whatever the unit. p-values come from scores
    shuffled among the documents: the correlations, without their sign, are held against those of experts active in
    about as many documents (:func:`~workbench.analysis.significance.pooled_p`), since those of rare experts, nearly all
    zeros, spread as no textbook distribution does.
    Where the texts of some labels score higher than others, the experts of these labels go with the score as well: that
    is a correlation, and no more.

    Args:
        run: an opened run.
        column: of ``run.documents``: the corpus's ``score``, or another number, such as ``tokens``.
        unit: ``mean``, ``max`` or ``token``.
        min_documents: documents an expert must be active in to be tested.
        fdr: false discovery rate over a group's experts.
        seed: of the shuffles.
        progress: show tokens, rate and time left.

    Raises:
        WorkbenchError: no such numbers or too few of them, or a setting makes no sense.
    """
    check_unit(unit)
    if min_documents < 1:
        raise WorkbenchError(f"min_documents must be at least 1, got {min_documents}.")
    if not 0 < fdr < 1:
        raise WorkbenchError(f"fdr must lie between 0 and 1, got {fdr}.")
    documents = scored_documents(run, column)
    y = documents["y"].to_numpy()
    rng = np.random.default_rng(seed)
    targets = np.stack([y, *(rng.permutation(y) for _ in range(SHUFFLES))])
    rows, strongest = [], []
    for group in run.groups:
        with job(f"scores of group {group}", _reads(run, group, documents), "tokens", progress) as advance:
            table = correlate_group(run, group, documents, targets, unit, ranks=True, advance=advance)
        table = _with_verdicts(table, len(documents), min_documents)
        write_parquet(run.analysis_path(_name(group)), pa.Table.from_pandas(table.reset_index(), preserve_index=False))
        rows.append({"group": group} | _counts(table, fdr))
        strongest.append(table[table["q:pearson"] <= fdr].reset_index().assign(group=group))
    columns = ["group", "expert", "documents", *KINDS, "q:pearson"]
    found = pd.concat(strongest)[columns].sort_values(["pearson", "group", "expert"], ascending=[False, True, True])
    ends = pd.concat([found[found["pearson"] > 0].head(SHOWN), found[found["pearson"] < 0].tail(SHOWN)])
    summary = ScoreSummary(
        column, unit, len(documents), min_documents, fdr, seed, pd.DataFrame(rows), ends.reset_index(drop=True)
    )
    write_json(run.analysis_path(RESULT), summary.to_json())
    return summary


def _reads(run: Run, group: int, documents: pd.DataFrame) -> int:
    """Tokens that are read: all of them once for each range of keys."""
    return int(documents["tokens"].sum()) * (len(key_edges(run, group)) - 1)


def correlate_group(
    run: Run,
    group: int,
    documents: pd.DataFrame,
    targets: Floats,
    unit: str,
    *,
    ranks: bool = False,
    advance: Progress = silent,
) -> pd.DataFrame:
    """Correlations of a group's experts with several targets, over some documents.

    Pearson's are streamed: one pass over the routing for all experts, which holds their sums and nothing else. Ranks
    need all values of an expert side by side, so with them the routing is read once for each range of experts that
    memory holds (:func:`~workbench.analysis.activations.key_edges`).

    Args:
        run, group: where the experts are.
        documents: columns row and tokens; none may be empty.
        targets: (targets, documents).
        unit: one of :data:`~workbench.analysis.correlation.cells.UNITS`.
        ranks: correlate ranks too.
        advance: called with the tokens read since its last call.

    Returns:
        Index ``expert``, those active in these documents; columns documents (it is active in), ``pearson:{t}`` for each
        target, and with ``ranks`` ``spearman:{t}``.
    """
    tokens = documents["tokens"].to_numpy()
    document_of = np.repeat(np.arange(len(documents)), tokens) if unit == "token" else np.arange(len(documents))
    by_unit = targets[:, document_of]
    unit_ranks = rankdata(by_unit, axis=1)
    tables = []
    for low, high in pairwise(key_edges(run, group) if ranks else [0, run.num_keys]):
        experts = (high - low) * run.num_keys
        sums, active, kept = PearsonSums(experts, by_unit), np.zeros(experts, np.int64), []
        for cells in read_cells(run, group, documents, unit, (low, high), advance):
            sums.add(cells)
            active += _documents(cells, document_of, experts)
            if ranks:
                kept.append(cells)
        found = {f"pearson:{t}": r for t, r in enumerate(sums.correlations())}
        if ranks:
            everything = _joined(kept, len(document_of))
            found |= {f"spearman:{t}": r for t, r in enumerate(rank_correlations(everything, experts, unit_ranks))}
        ids = pd.RangeIndex(low * run.num_keys, high * run.num_keys, name="expert")
        tables.append(pd.DataFrame({"documents": active} | found, ids)[active > 0])
    return pd.concat(tables)


def _documents(cells: Cells, document_of: NDArray[np.int64], experts: int) -> NDArray[np.int64]:
    """How many of the block's documents each expert is active in."""
    owner = cells.expert * len(document_of) + document_of[cells.unit]
    return np.bincount(np.unique(owner) // len(document_of), minlength=experts)


def _joined(kept: list[Cells], units: int) -> Cells:
    """All cells as one block."""
    columns = ((cells.expert, cells.unit, cells.value) for cells in kept)
    return Cells(range(units), *(np.concatenate(column) for column in zip(*columns, strict=True)))


def _with_verdicts(table: pd.DataFrame, documents: int, min_documents: int) -> pd.DataFrame:
    """The table that :func:`read_scores` describes."""
    sizes = table["documents"].to_numpy(np.float64)
    tested = sizes >= min_documents
    columns: dict[str, Any] = {"documents": table["documents"]}
    for kind, interval in zip(KINDS, (pearson_interval, spearman_interval), strict=True):
        true, *null = (table[f"{kind}:{t}"].to_numpy() for t in range(1 + SHUFFLES))
        low, high = interval(true, documents)
        scores = [np.where(tested, np.abs(values), np.nan) for values in (true, *null)]
        p = pooled_p(scores[0], sizes, np.concatenate(scores[1:]), np.tile(sizes, SHUFFLES))
        columns |= {kind: true, f"{kind}:low": low, f"{kind}:high": high}
        columns |= {f"p:{kind}": p, f"q:{kind}": benjamini_hochberg(p)}
    return pd.DataFrame(columns, table.index)


def _counts(table: pd.DataFrame, fdr: float) -> dict[str, int]:
    """A row of :attr:`ScoreSummary.groups`."""
    found = {"seen": len(table), "tested": int(table["p:pearson"].notna().sum())}
    for kind in KINDS:
        significant = table[table[f"q:{kind}"] <= fdr][kind]
        found |= {f"{kind}:positive": int((significant > 0).sum()), f"{kind}:negative": int((significant < 0).sum())}
    return found


def read_scores(run: Run, group: int) -> pd.DataFrame:
    """What the last :func:`correlate_scores` found of a group: a row for each expert active, index ``expert``.

    Columns: documents (it is active in); for pearson and spearman the correlation, ``{kind}:low`` and ``{kind}:high``
    (the ends of its 95 % interval), ``p:{kind}`` and ``q:{kind}``, the false discovery rate at which it is significant.
    A correlation is NaN for an expert that is the same everywhere; p and q are for those seen in too few documents.

    Raises:
        WorkbenchError: the run has no such group, or its scores have not been correlated.
    """
    if group not in run.groups:
        raise WorkbenchError(f"there is no group {group}; {run.path} has the groups {', '.join(map(str, run.groups))}.")
    path = run.analysis_path(_name(group))
    if not path.is_file():
        raise WorkbenchError(f"no scores of {run.path} have been correlated; run `monet scores {run.path}`.")
    return pq.read_table(path).to_pandas().set_index("expert")


def read_score_summary(run: Run) -> ScoreSummary | None:
    """The summary of the last :func:`correlate_scores`; None where there is none."""
    path = run.analysis_path(RESULT)
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    tables = {name: pd.DataFrame(stored.pop(name)) for name in ("groups", "strongest")}
    return ScoreSummary(**stored, **tables)


def _name(group: int) -> str:
    return f"scores-group-{group}.parquet"
