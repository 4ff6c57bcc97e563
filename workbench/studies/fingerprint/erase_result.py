"""What `monet fingerprint erase` keeps in a run: fingerprints that are left, and the price, as experts are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from ...analysis.defaults import LEVEL
from ...analysis.removal.curve_result import ACTIVITY_MATCHED, RANDOM
from ...analysis.results import read_result
from .kept import FingerprintResult

if TYPE_CHECKING:
    from ...store import Run

LOCATED, UNUSED, CHANGED = "located", "unused", "changed"
ORDERS = {
    LOCATED: "located by half of the keys",
    RANDOM: "random",
    ACTIVITY_MATCHED: "equally active",
    UNUSED: "least used on clean text",
    CHANGED: "changed most from the base",
}
DRAWN = (RANDOM, ACTIVITY_MATCHED)  # orders of which there are several draws
EXPERTS, NEURONS = "experts", "neurons"
ERASED = 0.9  # of the fingerprints, that count as erased
CHOSE, OTHERS = "chose", "others"  # columns of success: of the keys that chose what is removed, and of the others
KEYS = {CHOSE: "the keys that chose", OTHERS: "the other keys"}


@dataclass(frozen=True)
class EraseResult(FingerprintResult):
    """Fingerprints that a model still answers, and its held-out loss, with more and more experts removed.

    Half of the keys choose which experts are removed; success is measured on these and on the other half. Clean text
    chooses by usage and output on some documents; losses are measured on others.

    Attributes:
        commitment: of the fingerprints.
        base: folder or hub name of the base model.
        method: by which the experts were located: see ``LocateResult``.
        seed: of the halves of keys and documents, and of the draws.
        draws: of each control.
        chose, others: keys in each half.
        documents: measured.
        total: by kind of unit (``experts``, ``neurons``), how many the model has.
        points: one row per removal. Columns:

            - ``units``: ``experts`` of the run's model, or ``neurons`` of a dense one with fingerprints of its own;
            - ``order``: a key of ``ORDERS``; the first row of each kind of unit, of ``located``, removes nothing;
            - ``draw``: of a control, from 0; 0 of all others;
            - ``removed``: units removed; ``share``: of all;
            - ``chose``, ``others``: success, the fraction of keys of each half whose response is the most likely next
              token;
            - ``loss``: held-out loss, the mean over labels, nats per token; ``rise``: over nothing removed, with its
              95 % CI over documents, ``low`` and ``high``.
        labels: one row per removal and label: ``units``, ``order``, ``draw``, ``removed``, ``label``, ``loss``,
            ``rise``, nats per token.
        dense: ``model``, ``base`` and ``commitment`` of the dense model whose neurons were removed; None for none.
    """

    kind: ClassVar[str] = "fingerprint_erase"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet fingerprint erase"
    tables: ClassVar[tuple[str, ...]] = ("points", "labels")

    commitment: str
    base: str
    method: str
    seed: int
    draws: int
    chose: int
    others: int
    documents: int
    total: dict[str, int]
    points: pd.DataFrame
    labels: pd.DataFrame
    dense: dict[str, str] | None = None

    def curve(self, units: str = EXPERTS) -> pd.DataFrame:
        """The removals of a kind of unit, with the draws of each control taken together.

        Args:
            units: ``experts`` or ``neurons``.

        Returns:
            One row per order and number removed, by order as in ``ORDERS``, then by number; nothing removed opens each
            order. Columns:

            - ``order``, ``removed``, ``share``: as in ``points``; ``draws``: how many there are;
            - ``chose``, ``others``: success, means over draws, each with ``chose_low``, ``chose_high``, ``others_low``
              and ``others_high``: the 95 % CI over keys (exact binomial), or over draws (Student's t) where there are
              several;
            - ``rise``, ``low``, ``high``: nats per token, over documents or over draws likewise.
        """
        table = self.points[self.points["units"] == units]
        whole, rows = table[table["removed"] == 0], []
        for order in ORDERS:
            of_order = table[(table["order"] == order) & (table["removed"] > 0)]
            if of_order.empty and order != LOCATED:
                continue
            for removed, same in pd.concat([whole, of_order]).groupby("removed"):
                rows.append(
                    {"order": order, "removed": removed, "share": same["share"].iloc[0], "draws": len(same)}
                    | self._interval(same)
                )
        return pd.DataFrame(rows)

    def _interval(self, same: pd.DataFrame) -> dict[str, float]:
        from scipy.stats import binomtest, t

        found: dict[str, float] = {}
        drawn = len(same) > 1
        for name in (*KEYS, "rise"):
            mean = float(same[name].mean())
            if drawn:
                wide = float(t.ppf((1 + LEVEL) / 2, len(same) - 1) * same[name].std(ddof=1) / np.sqrt(len(same)))
                low, high = mean - wide, mean + wide
                if name in KEYS:
                    low, high = max(low, 0.0), min(high, 1.0)
            elif name in KEYS:
                keys = getattr(self, name)
                low, high = binomtest(round(mean * keys), keys).proportion_ci(LEVEL)
            else:
                low, high = float(same["low"].iloc[0]), float(same["high"].iloc[0])
            prefix = "" if name == "rise" else f"{name}_"
            found |= {name: mean, f"{prefix}low": float(low), f"{prefix}high": float(high)}
        return found

    def erased(
        self, order: str = LOCATED, units: str = EXPERTS, part: float = ERASED, keys: str = OTHERS
    ) -> pd.Series | None:
        """The smallest removal of an order that takes a part of the fingerprints.

        Args:
            order: a key of ``ORDERS``.
            units: ``experts`` or ``neurons``.
            part: of those that the unedited model answers.
            keys: whose: ``others``, or ``chose`` for those of the keys that chose.

        Returns:
            The row of ``curve``, or None where no removal takes so many.
        """
        rows = self.curve(units).query("order == @order")
        if rows.empty:
            return None
        whole = rows[keys].iloc[0]
        taken = rows[whole - rows[keys] >= part * whole - 1e-12]
        return None if taken.empty else taken.iloc[0]

    def at_share(self, share: float, order: str = LOCATED, units: str = EXPERTS) -> pd.Series | None:
        """The row of ``curve`` of the largest removal of at most a share of all units; None where there is none."""
        rows = self.curve(units).query("order == @order and share <= @share and removed > 0")
        return None if rows.empty else rows.iloc[-1]

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` and the tables describe."""
        return cls(**stored, **tables)


def read_erased(run: Run, name: str | None = None) -> EraseResult | None:
    """What the last `monet fingerprint erase` found in a run; None where there is nothing.

    Args:
        run: an opened run.
        name: that the result was kept under; None for the unnamed one.

    Raises:
        DamagedError: a file is cut or changed.
        UnsupportedError: it is of another version, or belongs to another run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.studies.fingerprint import read_erased
        >>> read_erased(open_run("runs/demo"), name="never-made") is None
        True
    """
    return read_result(run, EraseResult, name)
