"""What the cells and points of a map can be coloured by, on one scale for all groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from ...analysis import SCORES
from ...errors import NotFoundError
from .. import lattice
from ..tables import TOO_LITTLE

if TYPE_CHECKING:
    from ..context import Context

LABEL, CONFIRMED = "label", "confirmed"
LEVELS = 100  # steps of a scale: as many as an eye tells apart, and few enough to send quickly
SCALE = "Viridis"  # safe for the colour-blind
LOGARITHMIC = frozenset(("density", "mass", "max", "ratio", "information"))
SUMMED = frozenset(("density", "mass"))  # of which the sum over a key's experts means something


@dataclass(frozen=True)
class Colouring:
    """One quantity that experts are coloured by.

    Attributes:
        name: in the address: ``label``, ``confirmed`` or a column of numbers.
        title: what people call it.
        log: whether its scale is logarithmic.
        summed: whether a key has the sum over its experts, and not their mean.
    """

    name: str
    title: str
    log: bool = False
    summed: bool = False

    @property
    def by_label(self) -> bool:
        """Whether the colours are those of labels."""
        return self.name in (LABEL, CONFIRMED)


class Scale(NamedTuple):
    """The ends of a scale, and whether it is logarithmic between them."""

    low: float
    high: float
    log: bool

    @classmethod
    def over(cls, numbers: Iterable[pd.Series], log: bool) -> Self:
        """From the least to the largest finite value; above 0, on a logarithmic scale."""
        low, high = np.inf, -np.inf
        for some in numbers:
            known = some.to_numpy()
            known = known[np.isfinite(known) & ((known > 0) | (not log))]
            low, high = min(low, known.min(initial=np.inf)), max(high, known.max(initial=-np.inf))
        return cls(float(low), float(high), log) if low <= high else cls(1.0, 1.0, log)

    def levels(self, values: NDArray[np.float64]) -> NDArray[np.int16]:
        """The step of each value, from 1 to ``LEVELS``; 0 where there is none. An infinite one is at the end.

        Examples:
            >>> import numpy as np
            >>> Scale(0.0, 4.0, log=False).levels(np.array([0.0, 1.0, 4.0, np.inf, np.nan])).tolist()
            [1, 26, 100, 100, 0]
        """
        with np.errstate(all="ignore"):
            low, high, at = (np.log(part) if self.log else part for part in (self.low, self.high, values))
            share = np.clip((at - low) / ((high - low) or 1.0), 0.0, 1.0)
            levels = 1 + np.minimum(np.floor(share * LEVELS), LEVELS - 1)
        return np.where(np.isnan(at), 0, levels).astype(np.int16)

    def ticks(self, count: int = 5) -> list[float]:
        """Values to write along the scale, at equal distances from its low to its high end."""
        space = np.geomspace if self.log else np.linspace
        return [float(value) for value in space(self.low, self.high, count)]


class Cells(NamedTuple):
    """A group's lattice, coloured.

    Attributes:
        codes: (E, E) -1 never active, 0 without a value, from 1 on what ``paint`` has colours for.
        paint: the CSS colour of every code from -1 on.
        rows, columns: (E,) the quantity of each key of set 1, and of set 2: see ``margin_title``.
    """

    codes: NDArray[np.int16]
    paint: list[str]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]


def colourings(ctx: Context) -> dict[str, Colouring]:
    """The colourings that a run has values for, by name, in the order of the choice."""
    table = ctx.experts(ctx.run.groups[0])
    titles = {"density": "density", "mass": "mass", "max": "highest score", "token_entropy": "token entropy"}
    titles |= {"interest": "interest", **{name: score.title for name, score in SCORES.items()}}
    titles["monosemanticity"] = "label selectivity"
    known = [name for name in titles if name == "density" or (name in table and table[name].notna().any())]
    chosen = [Colouring(LABEL, "label")]
    if ctx.tested:
        chosen.append(Colouring(CONFIRMED, "confirmed, by label"))
    chosen += [Colouring(name, titles[name], name in LOGARITHMIC, name in SUMMED) for name in known]
    return {colouring.name: colouring for colouring in chosen}


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
    """The numbers of a colouring that is not by label, one per active expert; missing ones are NaN."""
    table = ctx.experts(group)
    if colouring.name == "density":
        return table["tokens"] / max(ctx.run.tokens_total, 1)
    return table[colouring.name].astype(np.float64)


def scale(ctx: Context, colouring: Colouring) -> Scale:
    """The scale of a colouring, the same for all groups."""
    return Scale.over([values(ctx, group, colouring) for group in ctx.run.groups], colouring.log)


def scale_colours(count: int = LEVELS) -> list[str]:
    """The colours of the steps of a scale, low to high."""
    return list(sample_colorscale(SCALE, list(np.linspace(0, 1, count))))


def cells(ctx: Context, group: int, colouring: Colouring) -> Cells:
    """A group's lattice in a colouring, with its margins.

    Raises:
        NotFoundError: the run has no such group.
    """
    ctx.run.check_group(group)
    if colouring.by_label:
        codes, paint = _label_cells(ctx, group, colouring)
    else:
        numbers = values(ctx, group, colouring)
        codes = np.full(ctx.run.num_keys**2, -1, np.int16)
        codes[numbers.index.to_numpy()] = scale(ctx, colouring).levels(numbers.to_numpy())
        paint = [lattice.UNSEEN_FILL, lattice.TOO_LITTLE_FILL, *scale_colours()]
    keys = ctx.run.num_keys
    return Cells(codes.reshape(keys, keys), paint, *_margins(ctx, group, colouring))


def code_names(ctx: Context, shown: Sequence[str]) -> list[str]:
    """What the codes of ``Context.codes`` are called, from -1 on; ``shown`` are the labels' names."""
    return ["never active", ctx.without_label, *shown, TOO_LITTLE]


def _label_cells(ctx: Context, group: int, colouring: Colouring) -> tuple[NDArray[np.int16], list[str]]:
    codes, paint = ctx.codes(group), lattice.paint(ctx.colours)
    if colouring.name == LABEL:
        return codes, paint
    table = ctx.experts(group)
    codes = codes.reshape(-1).copy()
    codes[table.index.to_numpy()[~table["confirmed"].to_numpy()]] = 0
    return codes, [paint[0], lattice.FADED_FILL, *paint[2:]]


def margin_title(ctx: Context, colouring: Colouring) -> str:
    """What the bars beside a map show."""
    if colouring.by_label:
        return "confirmed experts" if ctx.tested else "specialised experts" if ctx.analysed else "active experts"
    return f"sum of {colouring.title}" if colouring.summed else f"mean {colouring.title} of active experts"


def _margins(ctx: Context, group: int, colouring: Colouring) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The quantity of ``margin_title`` for the keys of set 1, and for those of set 2; 0 where a key has none."""
    table, keys = ctx.experts(group), ctx.run.num_keys
    if colouring.by_label:
        known = table["confirmed"] if ctx.tested else (table["specialised"] != "") | (not ctx.analysed)
        weights = known.to_numpy().astype(np.float64)
    else:
        weights = values(ctx, group, colouring).to_numpy()
    fit = np.isfinite(weights)
    weights, ids = weights[fit], table.index.to_numpy()[fit]
    sides = []
    for key in (ids // keys, ids % keys):
        total = np.bincount(key, weights, keys).astype(np.float64)
        if not (colouring.by_label or colouring.summed):
            total /= np.maximum(np.bincount(key, minlength=keys), 1)
        sides.append(total)
    return sides[0], sides[1]
