"""Correlation of routing scores with a per-document score, such as toxicity, for every expert (paper, 5.3 and D.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ...errors import BadInputError
from ...progress import Progress, silent
from ..activations import key_edges
from ..results import group_file, write_result, write_table
from ..significance import benjamini_hochberg, pooled_p
from ..specialisation.shares import Floats
from ..sums import RANGE_PAIRS, RANGES, KeyRange
from ..units import document_units
from ..work import Arrays, Computing, How, State, computing, opened_again, run_tasks
from .cells import check_unit, read_cells
from .coefficients import Cells, Ints, PearsonSums, pearson_interval, rank_correlations, spearman_interval
from .correlate_result import KINDS, STRONGEST_COLUMNS, ScoreSummary
from .defaults import COLUMN, CORRELATE_UNIT, FDR, MIN_DOCUMENTS

if TYPE_CHECKING:
    from ...store import Run
    from ...store.remote import Place
    from ...store.sample import Sample

SHUFFLES = 10  # of the scores among documents: the null, pooled over experts
STRONGEST = 10  # experts at either end of the summary
INTERVAL_DOCUMENTS = 4  # an interval's variance is 1 / (documents - 3)


@dataclass(frozen=True)
class ScoredDocuments:
    """Documents that have a score.

    Attributes:
        table: their rows of ``run.documents``, numbered from 0.
        scores: (documents,) their scores.
    """

    table: pd.DataFrame
    scores: Floats


@dataclass(frozen=True)
class GroupCorrelations:
    """Correlations of a group's experts with several targets.

    Attributes:
        expert: (n,) flat ids of the experts active in these documents, ascending.
        documents: (n,) documents each is active in, near copies counted once.
        pearson: (targets, n); NaN where an expert or the target is constant.
        spearman: (targets, n), or None where ranks were not asked for.
    """

    expert: Ints
    documents: Ints
    pearson: Floats
    spearman: Floats | None


def scored_documents(run: Run, column: str) -> ScoredDocuments:
    """Return the documents that have tokens, kept routing and a finite number in ``column``.

    Raises:
        BadInputError: there is no such column of numbers, fewer than ``INTERVAL_DOCUMENTS`` such documents, or the
            same number in all of them.
    """
    documents = run.documents[(run.documents["tokens"] > 0) & run.documents["kept"]]
    numbers = list(documents.select_dtypes("number"))
    if column not in numbers:
        raise BadInputError(
            f"{run.path} has no column of numbers {column!r} in its documents; it has {', '.join(numbers)}."
        )
    scores = documents[column].to_numpy(np.float64)
    finite = np.isfinite(scores)
    distinct = len(np.unique(scores[finite]))
    if finite.sum() < INTERVAL_DOCUMENTS or distinct < 2:
        counted = f"{finite.sum()} documents" if finite.sum() != 1 else "one document"
        raise BadInputError(
            f"{run.path} has {counted} with a {column}, {distinct} of them different; a correlation needs at least "
            f"{INTERVAL_DOCUMENTS} documents and 2 different values. In a scored corpus each text has a number, such "
            "as its toxicity, in a column `score`. Make one with `monet corpus score CORPUS SCORED.parquet --with "
            "profanity`, or add the column yourself, and export that corpus; or correlate with another number of the "
            "documents, such as their length: `--column tokens`."
        )
    return ScoredDocuments(documents[finite].reset_index(drop=True), scores[finite])


def correlate_scores(
    run: Run,
    *,
    column: str = COLUMN,
    unit: str = CORRELATE_UNIT,
    min_documents: int = MIN_DOCUMENTS,
    fdr: float = FDR,
    seed: int = 0,
    name: str | None = None,
    sample: int | None = None,
    progress: bool = False,
    **how: Unpack[How],
) -> ScoreSummary:
    """Correlate every expert's routing score with a per-document score, by Pearson and by Spearman.

    The paper (5.3, D.3) correlates over tokens, each with the toxicity of its text: ``unit="token"``. Tokens of one
    text are not independent observations, though, so by default documents are the observations, and an expert's value
    in a document is its mean routing score over all tokens (or its largest). Everything is computed exactly from the
    stored routing, in float64.

    Intervals assume as many independent observations as there are documents, whatever the unit; near copies of one text
    are one. p-values come from scores shuffled among the documents, likewise: an expert's absolute correlation is
    compared with those of experts active in about as many documents (``pooled_p``), because the correlations of rare
    experts, which are 0 nearly everywhere, follow no textbook distribution. Where texts of some labels score higher
    than others, the experts of those labels correlate with the score too; a correlation says no more than that.

    Written to ``RUN/analysis``: ``scores.json``, which ``read_score_summary`` reads, and for each group
    ``scores-group-{group}.parquet``, which ``read_scores`` reads.

    Args:
        run: an opened run.
        column: column of ``run.documents``: the corpus's ``score``, or another number, such as ``tokens``.
        unit: what one observation is: ``mean`` or ``max`` over a document, or ``token``.
        min_documents: documents an expert must be active in to be tested, near copies counted once.
        fdr: false discovery rate over a group's experts (Benjamini & Hochberg 1995).
        seed: of the shuffles and the sample.
        name: keep the result under this name, beside the unnamed one, which otherwise it replaces.
        sample: read so many documents for each label, drawn at random, and not all; of each label in proportion to its
            documents, so that intervals hold the correlation over all documents at their rate.
        progress: show a progress bar.
        how: ``resume``, ``ray`` and ``workers``, as ``workbench.analysis.work.How`` describes them.

    Returns:
        The summary; ``read_scores`` returns the correlations of single experts.

    Raises:
        BadInputError: too few documents have such a number, or a setting is out of range.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import correlate_scores
        >>> run = open_run("runs/demo")  # its texts have no score, but each has a length
        >>> summary = correlate_scores(run, column="tokens", name="by-length")
        >>> summary.groups.columns[:4].tolist()
        ['group', 'seen', 'tested', 'pearson:positive']
        >>> bool((summary.groups["tested"] <= summary.groups["seen"]).all())
        True
    """
    check_unit(unit)
    if min_documents < 1:
        raise BadInputError(f"min_documents must be at least 1, got {min_documents}.")
    if not 0 < fdr < 1:
        raise BadInputError(f"fdr must lie between 0 and 1, got {fdr}.")
    if sample is not None:
        run = run.sample(sample, seed, by_size=True)  # a correlation is of labels in the corpus's own mix
    documents = scored_documents(run, column)
    rng = np.random.default_rng(seed)
    first, unit_of = np.unique(document_units(documents.table), return_index=True, return_inverse=True)[1:]
    unit_scores = documents.scores[first]  # near copies swap scores together: they are one observation
    targets = np.stack([documents.scores, *(rng.permutation(unit_scores)[unit_of] for _ in range(SHUFFLES))])
    settings = {"column": column, "unit": unit, "seed": seed}
    state = State(run, ScoreSummary, name, settings, how.get("resume", False))
    correlated = correlate_groups(
        run, documents.table, targets, unit, ranks=True, progress=progress, state=state, **computing(how)
    )
    rows, tables = [], {}
    for group, correlations in correlated:
        tables[group] = table = _with_verdicts(correlations, len(first), min_documents)
        rows.append({"group": group} | _counts(table, fdr))
    summary = ScoreSummary(
        column=column,
        unit=unit,
        documents=len(documents.table),
        min_documents=min_documents,
        fdr=fdr,
        seed=seed,
        groups=pd.DataFrame(rows),
        strongest=_strongest(
            pd.concat([table.reset_index().assign(group=group) for group, table in tables.items()]), fdr
        ),
    )
    for group, table in tables.items():  # together, so that a break leaves the earlier result whole
        write_table(run, ScoreSummary, group_file(ScoreSummary, group), table, name)
    write_result(run, summary, name)
    state.remove()
    return summary


def _strongest(table: pd.DataFrame, fdr: float) -> pd.DataFrame:
    """The table of ``ScoreSummary.strongest``, from those of all groups."""
    significant = {kind: table[kind].where(table[f"q:{kind}"] <= fdr, 0.0) for kind in KINDS}  # 0: not significant
    pearson, spearman = significant["pearson"], significant["spearman"]
    table = table.assign(stronger=pearson.where(pearson.abs() >= spearman.abs(), spearman))
    table = table.sort_values(["stronger", "group", "expert"], ascending=[False, True, True])
    positive, negative = table[table["stronger"] > 0].head(STRONGEST), table[table["stronger"] < 0].tail(STRONGEST)
    return pd.concat([positive, negative])[list(STRONGEST_COLUMNS)].reset_index(drop=True)


class Correlating:
    """Computes the correlations of a range of experts; threads may share it, and workers get a copy.

    Pearson's are streamed: one pass over the routing for all experts, which holds nothing but their sums. Ranks need
    all values of an expert side by side, so with them the routing is read once per range of experts that memory holds
    (``key_edges``).

    Args:
        run: an opened run.
        documents: rows of ``run.documents``; none may be empty.
        targets: (targets, documents).
        unit: one of ``UNITS``.
        ranks: correlate ranks (Spearman) too.
    """

    def __init__(self, run: Run, documents: pd.DataFrame, targets: Floats, unit: str, ranks: bool) -> None:
        self._run, self._documents, self._targets, self._unit, self._ranks = run, documents, targets, unit, ranks
        tokens = documents["tokens"].to_numpy()
        self._tokens = int(tokens.sum())
        at = np.arange(len(documents))
        self._document_of = np.repeat(at, tokens) if unit == "token" else at
        self._by_unit = targets[:, self._document_of]
        self._unit_ranks = rankdata(self._by_unit, axis=1) if ranks else None

    def __reduce__(self) -> tuple[Any, ...]:
        state = self._run.path, self._run.drawn, self._documents, self._targets, self._unit, self._ranks
        return _opened, state

    def ranges(self, group: int) -> list[KeyRange]:
        """The experts of a group, in ranges that do not depend on how many threads there are."""
        edges = key_edges(self._run, group) if self._ranks else key_edges(self._run, group, RANGE_PAIRS, RANGES)
        return [KeyRange(group, first, self._tokens) for first in pairwise(edges)]

    def __call__(self, task: KeyRange, advance: Progress = silent) -> Arrays:
        """expert, documents: (n,); pearson and, with ranks, spearman: (targets, n)."""
        run, (low, high) = self._run, task.first
        _, original, sizes = np.unique(document_units(self._documents), return_inverse=True, return_counts=True)
        experts = (high - low) * run.num_keys
        sums, count, blocks = PearsonSums(experts, self._by_unit), np.zeros(experts, np.int64), []
        of_copies = [np.zeros(0, np.int64)]  # the documents that have copies may come in several blocks
        for cells in read_cells(run, task.group, self._documents, self._unit, (low, high), advance):
            sums.add(cells)
            owner = np.unique(cells.expert * len(sizes) + original[self._document_of[cells.unit]])
            alone = sizes[owner % len(sizes)] == 1
            count += np.bincount(owner[alone] // len(sizes), minlength=experts)
            of_copies.append(owner[~alone])
            if self._ranks:
                blocks.append(cells)
        count += np.bincount(np.unique(np.concatenate(of_copies)) // len(sizes), minlength=experts)
        active = np.flatnonzero(count)
        found: Arrays = {"expert": low * run.num_keys + active, "documents": count[active]}
        found["pearson"] = sums.correlations()[:, active]
        if self._unit_ranks is not None:
            cells = _joined(blocks, len(self._document_of))
            found["spearman"] = rank_correlations(cells, experts, self._unit_ranks)[:, active]
        return found


def _opened(
    path: Place, drawn: Sample | None, documents: pd.DataFrame, targets: Floats, unit: str, ranks: bool
) -> Correlating:
    return Correlating(opened_again(path, drawn), documents, targets, unit, ranks)


def correlate_groups(
    run: Run,
    documents: pd.DataFrame,
    targets: Floats,
    unit: str,
    *,
    ranks: bool = False,
    progress: bool = False,
    state: State | None = None,
    **where: Unpack[Computing],
) -> Iterator[tuple[int, GroupCorrelations]]:
    """Yield each group and the correlations of its experts with several targets over a choice of documents.

    Args:
        run, documents, targets, unit, ranks: as for ``Correlating``.
        progress: show a progress bar.
        state: keeps what is finished.
        where: it is computed, as for ``run_tasks``.
    """
    correlating = Correlating(run, documents, targets, unit, ranks)
    tasks = [task for group in run.groups for task in correlating.ranges(group)]
    pieces: list[Arrays] = []
    for task, found in run_tasks(tasks, correlating, state, "scores", "tokens", progress, **where):
        pieces.append(found)
        if task.first[1] == run.num_keys:  # the last of its group
            joined = {name: np.concatenate([piece[name] for piece in pieces], -1) for name in found}
            yield (
                task.group,
                GroupCorrelations(joined["expert"], joined["documents"], joined["pearson"], joined.get("spearman")),
            )
            pieces = []


def _joined(blocks: list[Cells], units: int) -> Cells:
    """All blocks as one."""
    columns = ((cells.expert, cells.unit, cells.value) for cells in blocks)
    return Cells(range(units), *(np.concatenate(column) for column in zip(*columns, strict=True)))


def _with_verdicts(correlations: GroupCorrelations, documents: int, min_documents: int) -> pd.DataFrame:
    """The table that ``read_scores`` describes; the first target is the score, the others are its shuffles."""
    assert correlations.spearman is not None
    sizes = correlations.documents.astype(np.float64)
    tested = sizes >= min_documents
    columns: dict[str, Ints | Floats] = {"documents": correlations.documents}
    by_kind = {"pearson": correlations.pearson, "spearman": correlations.spearman}
    for kind, interval in zip(KINDS, (pearson_interval, spearman_interval), strict=True):
        true = by_kind[kind][0]
        low, high = interval(true, documents)
        absolute = np.where(tested, np.abs(by_kind[kind]), np.nan)  # (1 + shuffles, experts)
        p = pooled_p(absolute[0], sizes, np.concatenate(absolute[1:]), np.tile(sizes, SHUFFLES))
        columns |= {kind: true, f"{kind}:low": low, f"{kind}:high": high}
        columns |= {f"p:{kind}": p, f"q:{kind}": benjamini_hochberg(p)}
    return pd.DataFrame(columns, pd.Index(correlations.expert, name="expert"))


def _counts(table: pd.DataFrame, fdr: float) -> dict[str, int]:
    """A row of ``ScoreSummary.groups``, without the group."""
    counts = {"seen": len(table), "tested": int(table["p:pearson"].notna().sum())}
    for kind in KINDS:
        significant = table[table[f"q:{kind}"] <= fdr][kind]
        counts |= {f"{kind}:positive": int((significant > 0).sum()), f"{kind}:negative": int((significant < 0).sum())}
    return counts
