"""What a replication on halves of a corpus found; importing it imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd

from ...store.files import to_json_types

SPECIALISED, CONFIRMED = "specialised", "confirmed"  # rules that call an expert specialised on a half
COUNTS = ("experts", "same", "other", "rare", "chance", "shuffled")


@dataclass(frozen=True)
class Replication:
    """How many experts that are specialised on one half of the documents have the same label on the other half.

    Every count is of both directions: experts specialised on the first half and looked up on the second, and the other
    way round. So an expert that is specialised on both counts twice. Tables have the columns

    - ``rule``: ``specialised``, by the plain rule on one half; or ``confirmed``, significant on that half too, by the
      permutation test among its documents. On the other half the plain rule gives the label, for either;
    - ``group``: the layer group;
    - ``experts``: specialised on one half;
    - ``same``: those with the same label on the other;
    - ``other``: with another label there;
    - ``rare``: active at fewer than ``min_tokens`` tokens there, so without a label; the rest, active enough, are
      generalists there;
    - ``chance``: ``same`` to be expected if the labels on the halves had nothing to do with each other: every expert
      has the label on the other half as often as the experts of its group and activity have it there;
    - ``shuffled``: ``same`` with the labels of the other half's documents shuffled, a mean over several shuffles.

    Attributes:
        ratio: first label share over second, from which an expert is specialised.
        min_tokens: active tokens within a half that an expert needs to be specialised there. An expert that is
            specialised on the whole corpus at this number is active at about half as many tokens of either half.
        permutations, fdr: of the test within each half; without permutations there are no ``confirmed`` rows.
        seed: of the halves and the shuffles.
        halves: one row per half. Columns ``documents``, ``units`` (documents, near copies counted once), ``tokens``.
        skipped: labels that only one half has, or none: their documents are in neither half.
        labels: the table by ``label``, the one on the half where the expert is specialised.
        activity: the table by activity, in bins: ``low`` is the least number of active tokens, on both halves together,
            of a bin that ends where the next begins.
    """

    ratio: float
    min_tokens: int
    permutations: int
    fdr: float
    seed: int
    halves: pd.DataFrame
    skipped: list[str]
    labels: pd.DataFrame
    activity: pd.DataFrame

    @property
    def rules(self) -> list[str]:
        """The rules that were looked at, the stronger first."""
        return [CONFIRMED, SPECIALISED] if self.permutations else [SPECIALISED]

    def overall(self) -> pd.DataFrame:
        """Counts and ``share`` over all groups and labels; the index is the rule."""
        return with_share(self.labels.groupby("rule")[list(COUNTS)].sum().reindex(self.rules, fill_value=0))

    def by_label(self, group: int | None = None) -> pd.DataFrame:
        """Counts and ``share``, over all groups or one; index rule and label."""
        table = self.labels if group is None else self.labels[self.labels["group"] == group]
        return with_share(table.groupby(["rule", "label"], sort=False)[list(COUNTS)].sum())

    def by_activity(self) -> pd.DataFrame:
        """Counts and ``share`` over all groups, and ``tokens``, the bin in words; index rule and low; no empty bins."""
        lows = sorted(self.activity["low"].unique().tolist())
        words = [f"{low:,}–{high - 1:,}" for low, high in pairwise(lows)]
        named = dict(zip(lows, [*words, f"{lows[-1]:,} or more"], strict=True))
        table = self.activity.groupby(["rule", "low"])[list(COUNTS)].sum()
        table = with_share(table[table["experts"] > 0])
        return table.assign(tokens=table.index.get_level_values("low").map(named))

    def share(self, rule: str, group: int | None = None, label: str | None = None) -> float:
        """Share of the experts specialised on one half that have the same label on the other.

        Args:
            rule: ``specialised`` or ``confirmed``.
            group: of one layer group; of all by default.
            label: of one label; of all by default.

        Returns:
            0 to 1; NaN where no expert is specialised on a half, and for ``confirmed`` where nothing was tested.
        """
        table = self.labels[self.labels["rule"] == rule]
        for column, value in (("group", group), ("label", label)):
            if value is not None:
                table = table[table[column] == value]
        experts = table["experts"].sum()
        return float(table["same"].sum() / experts) if experts else float("nan")

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON types; ``overall`` is derived and not read back, and null stands for a share of nothing."""
        tables = {name: getattr(self, name).to_dict("records") for name in ("halves", "labels", "activity")}
        return {"overall": to_json_types(self.overall().to_dict("index"))} | asdict(self) | tables

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The replication that ``to_json`` describes."""
        fields = {name: stored[name] for name in cls.__dataclass_fields__}
        keys = {"labels": ["rule", "group", "label"], "activity": ["rule", "group", "low"], "halves": []}
        columns = {"labels": COUNTS, "activity": COUNTS, "halves": ("documents", "units", "tokens")}
        return cls(
            **fields | {name: pd.DataFrame(stored[name], columns=[*keys[name], *columns[name]]) for name in columns}
        )


def with_share(counts: pd.DataFrame) -> pd.DataFrame:
    """Counts with ``share``, ``chance_share`` and ``shuffled_share``: parts of ``experts``, NaN where that is 0."""
    experts = counts["experts"].where(counts["experts"] > 0, np.nan)
    shares = {"share": "same", "chance_share": "chance", "shuffled_share": "shuffled"}
    return counts.assign(**{name: counts[column] / experts for name, column in shares.items()})
