"""How a colouring is drawn: its scale, the same for all groups, and a group's lattice with its margins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from .. import lattice
from ..tables import TOO_LITTLE
from .colourings import LABEL, Colouring, values

if TYPE_CHECKING:
    from ..context import Context

LEVELS = 100  # steps of a scale: as many as an eye tells apart, and few enough to send quickly
SCALE = "Viridis"  # safe for the colour-blind
SIGNED_SCALE = ["rgb(84, 39, 136)", "rgb(190, 190, 196)", "rgb(179, 88, 6)"]  # so is it; around 0 it still shows
SIGNED_PART = 0.99  # of the experts that a scale around 0 tells apart; the few beyond would hide the others


class Scale(NamedTuple):
    """The ends of a scale, and whether it is logarithmic between them."""

    low: float
    high: float
    log: bool

    @classmethod
    def over(cls, numbers: Iterable[pd.Series], log: bool, signed: bool = False) -> Self:
        """From the least to the largest finite value; above 0, on a logarithmic scale. A ``signed`` scale is as wide on
        both sides of 0, and what is beyond its ends is at them.
        """
        if signed:
            size = np.concatenate([np.abs(some.to_numpy()) for some in numbers])
            size = size[np.isfinite(size)]
            reach = float(np.quantile(size, SIGNED_PART)) if len(size) else 0.0
            reach = reach or float(size.max(initial=0.0)) or 1.0
            return cls(-reach, reach, False)
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


def scale(ctx: Context, colouring: Colouring) -> Scale:
    """The scale of a colouring, the same for all groups."""
    return Scale.over([values(ctx, group, colouring) for group in ctx.run.groups], colouring.log, colouring.signed)


def colour_scale(colouring: Colouring) -> str | list[str]:
    """The colours of a colouring's scale, as Plotly takes them."""
    return SIGNED_SCALE if colouring.signed else SCALE


def scale_colours(colouring: Colouring, count: int = LEVELS) -> list[str]:
    """The colours of the steps of a scale, low to high."""
    return list(sample_colorscale(colour_scale(colouring), list(np.linspace(0, 1, count))))


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
        paint = [lattice.UNSEEN_FILL, lattice.TOO_LITTLE_FILL, *scale_colours(colouring)]
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
