"""What the cells and points of a map can be coloured by: labels, statistics of the run, and results of its analyses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from ...analysis import SCORES, DiffResult, read_diff, read_score_summary, read_scores
from ...analysis.correlation.correlate_result import KINDS, ScoreSummary
from ...analysis.results import group_file
from ...analysis.specialisation.replication_result import SPECIALISED
from ...errors import NotFoundError, WorkbenchError
from ...store.token_text import visible_label
from ..tables import GENERAL

if TYPE_CHECKING:
    from ..context import Context

LABEL, CONFIRMED = "label", "confirmed"
LOGARITHMIC = frozenset(("density", "mass", "max", "ratio", "information"))
SUMMED = frozenset(("density", "mass"))  # of which the sum over a key's experts means something
DIFFERENCES = {  # column of a diff -> title, and whether it has a sign
    "mass_change": ("change of mass", True),
    "output_change": ("change of output", False),
    "contribution_change": ("change of contribution", True),
    "contribution_moved": ("contribution moved in all", False),
}
T = TypeVar("T")
Numbers = Callable[["Context", int], pd.Series]


@dataclass(frozen=True)
class Colouring:
    """One quantity that experts are coloured by.

    Attributes:
        name: in the address, such as ``mass``.
        title: what people call it.
        numbers: of a group, one per active expert, indexed by it; None of a colouring by label.
        log: whether its scale is logarithmic.
        summed: whether a key has the sum over its experts, and not their mean.
        signed: whether its scale is as wide below 0 as above.
    """

    name: str
    title: str
    numbers: Numbers | None = None
    log: bool = False
    summed: bool = False
    signed: bool = False

    @property
    def by_label(self) -> bool:
        """Whether the colours are those of labels."""
        return self.numbers is None


def colourings(ctx: Context) -> dict[str, Colouring]:
    """The colourings that a run has values for, by name, in the order of the choice."""
    return {one.name: one for source in SOURCES for one in source(ctx)}


def read_colouring(ctx: Context, name: str) -> Colouring:
    """The colouring of a name.

    Raises:
        NotFoundError: the run has none of that name.
    """
    known = colourings(ctx)
    if name not in known:
        raise NotFoundError(f"there is nothing called {name!r} to colour experts by; there is {', '.join(known)}.")
    return known[name]


def values(ctx: Context, group: int, colouring: Colouring) -> pd.Series:
    """The numbers of a colouring that is not by label, one per active expert; missing ones are NaN.

    Raises:
        WorkbenchError: the result they are of cannot be read.
    """
    assert colouring.numbers is not None
    return colouring.numbers(ctx, group).reindex(ctx.experts(group).index).astype(np.float64)


def _labels(ctx: Context) -> Iterator[Colouring]:
    yield Colouring(LABEL, "label")
    if ctx.tested:
        yield Colouring(CONFIRMED, "confirmed, by label")


def _statistics(ctx: Context) -> Iterator[Colouring]:
    table = ctx.experts(ctx.run.groups[0])
    titles = {"density": "density", "mass": "mass", "max": "highest score", "token_entropy": "token entropy"}
    titles |= {"interest": "interest", **{name: score.title for name, score in SCORES.items()}}
    titles["monosemanticity"] = "label selectivity"
    for name, title in titles.items():
        if name == "density" or (name in table and table[name].notna().any()):
            yield Colouring(name, title, partial(_statistic, name), name in LOGARITHMIC, name in SUMMED)


def _statistic(name: str, ctx: Context, group: int) -> pd.Series:
    table = ctx.experts(group)
    return table["tokens"] / max(ctx.run.tokens_total, 1) if name == "density" else table[name]


def _replication(ctx: Context) -> Iterator[Colouring]:
    """How many experts of an expert's label and group have it on both halves of the documents."""
    if ctx.replication() is not None:
        yield Colouring("replication", "replication of its label", _replicates)


def _replicates(ctx: Context, group: int) -> pd.Series:
    labels = ctx.experts(group)["specialised"]

    def shares() -> dict[str, float]:
        found = ctx.replication()
        names = [label for label in labels.cat.categories if label != GENERAL]
        return {} if found is None else {label: found.share(SPECIALISED, group, label) for label in names}

    known = ctx.of_summary(("replication", group), shares)
    return pd.Series(labels.astype(object).map(known).to_numpy(np.float64), labels.index)


def _correlations(ctx: Context) -> Iterator[Colouring]:
    summary = ctx.of_file(f"{ScoreSummary.kind}.json", "summary", lambda: _read(lambda: read_score_summary(ctx.run)))
    if summary is not None:
        column = "a document score" if summary.column == "score" else visible_label(summary.column)
        for kind in KINDS:
            yield Colouring(kind, f"{kind.title()} with {column}", partial(_correlation, kind), signed=True)


def _correlation(kind: str, ctx: Context, group: int) -> pd.Series:
    file = group_file(ScoreSummary, group)
    table: pd.DataFrame = ctx.of_file(file, "table", lambda: read_scores(ctx.run, group)[list(KINDS)])
    return table[kind]


def _differences(ctx: Context) -> Iterator[Colouring]:
    if _diff(ctx) is not None:
        for column, (title, signed) in DIFFERENCES.items():
            yield Colouring(
                column.replace("_", "-"), title, partial(_difference, column), log=not signed, signed=signed
            )


def _difference(column: str, ctx: Context, group: int) -> pd.Series:
    found = _diff(ctx)
    assert found is not None
    return found[found["group"] == group].set_index("expert")[column]


def _diff(ctx: Context) -> pd.DataFrame | None:
    """The experts of the run's diff; None where it has none that can be read."""

    def experts() -> pd.DataFrame | None:
        found = _read(lambda: read_diff(ctx.run))
        return None if found is None else found.experts[["group", "expert", *DIFFERENCES]]

    return ctx.of_file(f"{DiffResult.kind}.json", "experts", experts)


def _read(read: Callable[[], T | None]) -> T | None:
    """A result; None where it is missing, or its file cannot be used, as the page that shows it says."""
    with suppress(WorkbenchError):
        return read()
    return None


# Whoever adds a kind of quantity adds a function that yields what a run has of it.
SOURCES = (_labels, _statistics, _replication, _correlations, _differences)
