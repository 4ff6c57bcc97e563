"""Replication: do experts that are specialised on half of the documents have the same label on the other half?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...progress import Progress, silent
from ..activations import CrossTable, Reader
from ..checks import check_labels, check_rule
from ..defaults import FDR, MIN_TOKENS, PERMUTATIONS, RATIO
from ..significance import benjamini_hochberg
from ..units import document_units, label_units, split_documents
from ..work import Arrays, run_tasks
from .label_null import EXPERTS_AT_ONCE, LabelNull
from .replication_result import CONFIRMED, COUNTS, SPECIALISED, Replication
from .scores import RATIO_SCORE
from .shares import GENERALIST, label_shares, specialised_label

if TYPE_CHECKING:
    from ...store import Run
    from ..activations import Block

SHUFFLES = 5  # of the labels of a half's documents
ACTIVITY = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)  # active tokens at which bins of activity begin

Ints = NDArray[np.int64]


def replication(
    run: Run,
    *,
    ratio: float = RATIO,
    min_tokens: int = MIN_TOKENS,
    permutations: int = PERMUTATIONS,
    fdr: float = FDR,
    seed: int = 0,
    sample: int | None = None,
    progress: bool = False,
) -> Replication | None:
    """Return how many experts specialised on half of the documents have the same label on the other. Keeps nothing.

    ``analyze_run`` does this with its own settings, in the pass over the routing that it makes anyway. Documents are
    dealt to two halves that have about as many tokens of every label; near copies stay together. On each half, the rule
    and the permutation test are those of the analysis. A share found on halves is a cautious one: either half has half
    of the corpus's evidence.

    Masses are from the stored routing, in half precision; a run that keeps the routing of some documents has halves of
    those.

    Args:
        run: an opened run.
        ratio: first label share over second, at least 1.
        min_tokens: active tokens within a half that an expert needs to be specialised there, and to be tested.
        permutations: of the labels within each half; 0 for no tests, and no ``confirmed`` rows.
        fdr: false discovery rate, over a group's experts, at which an expert is confirmed on a half.
        seed: of the halves, the permutations, the shuffles and the sample.
        sample: read so many documents of each label, drawn at random, and not all.
        progress: show a progress bar.

    Returns:
        The counts; None where fewer than two labels have documents with routing in both halves.

    Raises:
        BadInputError: a setting is out of range, or the run has fewer than two labels.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import replication
        >>> found = replication(open_run("runs/demo"), permutations=0)
        >>> overall = found.overall().loc["specialised"]
        >>> bool(overall["share"] > 2 * overall["chance_share"])  # labels tell more than chance
        True
        >>> shares = found.by_activity()["share"]
        >>> bool(shares.iloc[-1] > shares.iloc[0])  # the more active, the surer
        True
    """
    check_rule(ratio, min_tokens)
    check_labels(run)
    if sample is not None:
        run = run.sample(sample, seed)
    halves = Halves.of(run, ratio, min_tokens, permutations, fdr, seed)
    if halves is None:
        return None
    reader = Reader(run)
    document = reader.document()

    def found(block: Block, advance: Progress) -> Arrays:
        return halves.found(reader.read(block, advance).by(document), lambda *_: advance(0))

    blocks = [block for group in run.groups for block in reader.blocks(group)]
    for block, arrays in run_tasks(blocks, found, None, "halves", "activations", progress):
        halves.take(block.group, arrays)
    return halves.counted()


class Halves:
    """The documents of a run in two halves, and what is known of the experts that were added so far.

    Args:
        label: (documents,) label number of each document, in ``labels``; -1 for one that is in no half.
        half: (documents,) 0 or 1.
        units: (documents,) of ``document_units``.
        tokens: (documents,) tokens.
        labels: names of the labels.
        skipped: labels whose documents are in no half.
        experts: of a group.
        ratio, min_tokens, permutations, fdr, seed: as for ``replication``.
    """

    def __init__(
        self,
        label: Ints,
        half: Ints,
        units: Ints,
        tokens: Ints,
        *,
        labels: list[str],
        skipped: list[str],
        experts: int,
        ratio: float,
        min_tokens: int,
        permutations: int,
        fdr: float,
        seed: int,
    ) -> None:
        self.labels, self.skipped, self.experts = labels, skipped, experts
        self.ratio, self.min_tokens, self.permutations, self.fdr, self.seed = ratio, min_tokens, permutations, fdr, seed
        self._chosen, self._half, self._tokens = label >= 0, half, tokens
        pair, pair_label = label_units(units, label)
        pair_half = np.zeros(len(pair_label), np.int64)
        pair_half[pair] = half
        rng = np.random.default_rng(seed)
        orders = [label]
        for _ in range(SHUFFLES):
            shuffled = pair_label.copy()
            for side in (0, 1):
                mine = (pair_half == side) & (pair_label >= 0)
                shuffled[mine] = rng.permutation(pair_label[mine])
            orders.append(np.where(label >= 0, shuffled[pair], -1))
        self._orders = np.stack(orders)  # (1 + shuffles, documents): the truth comes first
        self._nulls: list[tuple[LabelNull, Ints]] = []
        for side in (0, 1) if permutations else ():
            mine = (pair_half == side) & (pair_label >= 0)
            sizes = np.bincount(pair, tokens, len(pair_label)).astype(np.int64)
            null = LabelNull(pair_label[mine], sizes[mine], len(labels), permutations, seed, [RATIO_SCORE.name])
            self._nulls.append((null, (np.cumsum(mine) - 1)[pair]))
        self._groups: dict[int, _Group] = {}
        self._units = units

    @classmethod
    def of(cls, run: Run, ratio: float, min_tokens: int, permutations: int, fdr: float, seed: int) -> Halves | None:
        """The halves of a run's documents whose routing is kept; None where fewer than two labels are in both."""
        kept = run.documents[run.documents["kept"]]
        label = kept["label"].map(run.check_label).to_numpy(np.int64)
        units, tokens = document_units(kept), kept["tokens"].to_numpy(np.int64)
        half = split_documents(label, tokens, seed, units, choosing_tokens=1).astype(np.int64)
        size = np.zeros((2, len(run.labels)), np.int64)
        np.add.at(size, (half, label), tokens)
        there: NDArray[np.bool_] = np.logical_and(*(size > 0))
        labels = [name for name, both in zip(run.labels, there, strict=True) if both]
        if len(labels) < 2:
            return None
        return cls(
            np.where(there, np.cumsum(there) - 1, -1)[label],
            half,
            units,
            tokens,
            labels=labels,
            skipped=[name for name in run.labels if name not in labels],
            experts=run.num_keys**2,
            ratio=ratio,
            min_tokens=min_tokens,
            permutations=permutations,
            fdr=fdr,
            seed=seed,
        )

    def add(self, group: int, table: CrossTable) -> None:
        """Take note of some experts of a group.

        Args:
            group: its number.
            table: all that these experts did, by document.
        """
        self.take(group, self.found(table))

    def found(self, table: CrossTable, advance: Progress = silent) -> Arrays:
        """What the halves tell of some experts, for ``take``.

        Args:
            table: all that these experts did, by document.
            advance: called now and then.

        Returns:
            seen: (n,) their flat ids; label: (1 + shuffles, 2, n) and tokens: (2, n), on the halves; p: (2, n), none
            where nothing is tested.
        """
        table = table.only(self._chosen)
        edges = np.flatnonzero(np.diff(table.expert, prepend=-1))
        seen = table.expert[edges]
        labels = np.full((len(self._orders), 2, len(seen)), GENERALIST, np.int16)
        active = np.zeros((2, len(seen)), np.int64)
        for start in range(0, len(seen), EXPERTS_AT_ONCE):
            block = slice(start, start + EXPERTS_AT_ONCE)
            end = edges[block.stop] if block.stop < len(seen) else len(table.expert)
            cells = slice(edges[start], end)
            row = np.searchsorted(seen[block], table.expert[cells])
            labels[:, :, block], active[:, block] = self._labels(
                row, table.number[cells], table.mass[cells], table.tokens[cells], len(seen[block])
            )
            advance(0)
        p = np.full((2, len(seen) if self.permutations else 0), np.nan)
        for side, (null, pair) in enumerate(self._nulls):
            tested = np.flatnonzero(active[side] >= self.min_tokens)
            if len(tested):
                mine = table.only(self._half == side).merged(pair)
                p[side, tested] = null.p_values(mine, seen[tested], advance)[RATIO_SCORE.name]
        return {"seen": seen, "label": labels, "tokens": active, "p": p}

    def take(self, group: int, found: Arrays) -> None:
        """Take note of what ``found`` returned of some experts of a group."""
        into, seen = self._groups.setdefault(group, _Group(self.experts, bool(self.permutations))), found["seen"]
        into.label[:, :, seen], into.tokens[:, seen] = found["label"], found["tokens"]
        if self.permutations:
            into.p[:, seen] = found["p"]

    def _labels(
        self, row: Ints, document: Ints, mass: NDArray[np.float32], tokens: Ints, experts: int
    ) -> tuple[Ints, Ints]:
        """Label of experts on each half and under each order of the labels, (orders, 2, experts), and active tokens."""
        half, labels = self._half[document], len(self.labels)
        active = np.bincount(half * experts + row, tokens, 2 * experts).reshape(2, experts).astype(np.int64)
        chosen = np.empty((len(self._orders), 2, experts), np.int64)
        for order, label in enumerate(self._orders):
            cell = (half * labels + label[document]) * experts + row
            by_label = np.bincount(cell, mass, 2 * labels * experts).reshape(2, labels, experts)
            for side in (0, 1):
                mine = self._chosen & (self._half == side)
                sizes = np.bincount(label[mine], self._tokens[mine], labels)
                shares = label_shares(by_label[side], sizes)
                chosen[order, side] = specialised_label(shares, active[side], self.ratio, self.min_tokens)
        return chosen, active

    def counted(self) -> Replication:
        """The counts over all experts added."""
        by_label, by_activity = [], []
        for group, found in self._groups.items():
            for rule in (CONFIRMED, SPECIALISED) if self.permutations else (SPECIALISED,):
                cells = self._cells(found, rule)
                numbers = {name: values.sum(1) for name, values in cells.items()}
                by_label.append(pd.DataFrame({"rule": rule, "group": group, "label": self.labels, **numbers}))
                numbers = {name: values.sum(0) for name, values in cells.items()}
                by_activity.append(pd.DataFrame({"rule": rule, "group": group, "low": self._bins(), **numbers}))
        labels_table, activity = (pd.concat(tables, ignore_index=True) for tables in (by_label, by_activity))
        return Replication(
            ratio=self.ratio,
            min_tokens=self.min_tokens,
            permutations=self.permutations,
            fdr=self.fdr,
            seed=self.seed,
            halves=self._described(),
            skipped=self.skipped,
            labels=labels_table,
            activity=activity,
        )

    def _bins(self) -> list[int]:
        """The least activity of each bin."""
        return [self.min_tokens, *(edge for edge in ACTIVITY if edge > self.min_tokens)]

    def _cells(self, found: _Group, rule: str) -> dict[str, NDArray[Any]]:
        """The counts, each (labels, bins), over both directions."""
        labels, lows = len(self.labels), self._bins()
        activity = np.searchsorted(lows, found.tokens.sum(0), side="right") - 1  # -1: too rare to be specialised
        cells = {name: np.zeros((labels, len(lows))) for name in COUNTS}

        def count(experts: NDArray[np.bool_], label: Ints) -> NDArray[np.float64]:
            where = label[experts] * len(lows) + activity[experts]
            return np.bincount(where, minlength=labels * len(lows)).reshape(labels, -1).astype(np.float64)

        for here, there in ((0, 1), (1, 0)):
            label, other = found.label[0, here], found.label[0, there]
            tested = found.tokens[here] >= self.min_tokens
            experts = label != GENERALIST
            if rule == CONFIRMED:
                experts &= benjamini_hochberg(found.p[here]) <= self.fdr
            mine = count(experts, label)
            cells["experts"] += mine
            cells["same"] += count(experts & (other == label), label)
            cells["other"] += count(experts & (other != label) & (other != GENERALIST), label)
            cells["rare"] += count(experts & (found.tokens[there] < self.min_tokens), label)
            of_bin = np.bincount(activity[tested], minlength=len(lows))
            rate = count(tested & (other != GENERALIST), other) / np.maximum(of_bin, 1)
            cells["chance"] += mine * rate
            for shuffled in found.label[1:, there]:
                cells["shuffled"] += count(experts & (shuffled == label), label) / SHUFFLES
        whole = ("experts", "same", "other", "rare")
        return {name: values.astype(np.int64) if name in whole else values for name, values in cells.items()}

    def _described(self) -> pd.DataFrame:
        """The table of ``Replication.halves``."""
        rows = []
        for side in (0, 1):
            mine = self._chosen & (self._half == side)
            units = len(np.unique(self._units[mine]))
            rows.append({"documents": int(mine.sum()), "units": units, "tokens": int(self._tokens[mine].sum())})
        return pd.DataFrame(rows)


class _Group:
    """What is known of a group's experts: labels by half and order, active tokens by half, p-values of the ratio."""

    def __init__(self, experts: int, tested: bool) -> None:
        self.label = np.full((1 + SHUFFLES, 2, experts), GENERALIST, np.int16)
        self.tokens = np.zeros((2, experts), np.int64)
        self.p = np.full((2, experts if tested else 0), np.nan)
