"""Regions that are marked on a map, as an address writes them, and the experts inside.

A region of cells is ``group:i-i,j-j``, such as ``0:10-20,300-315``: keys i of set 1 and j of set 2, both ends inside.
A region of the plane is ``group:x,y;x,y;x,y``: the corners of a polygon on the map of contexts.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow.csv import write_csv

from ...analysis import SCORES, read_map
from ...errors import BadInputError, NotFoundError
from ...report.csv_text import guarded

if TYPE_CHECKING:
    from ..context import Context

CELLS, PLANE = "cells", "plane"
MOST_CORNERS = 200
_CELLS = re.compile(r"(\d{1,9}):(\d{1,9})-(\d{1,9}),(\d{1,9})-(\d{1,9})")
_NUMBER = r"-?\d{1,9}(?:\.\d{1,9})?"
_PLANE = re.compile(rf"(\d{{1,9}}):({_NUMBER},{_NUMBER}(?:;{_NUMBER},{_NUMBER})*)")


class Region(NamedTuple):
    """The active experts of a region, largest mass first.

    Attributes:
        group: their group.
        experts: (n,) flat ids.
        places: how many experts the region has places for, active or not.
    """

    group: int
    experts: NDArray[np.int64]
    places: int


def read_region(ctx: Context, kind: str, text: str) -> Region:
    """The region that a text names.

    Args:
        ctx: the run.
        kind: ``cells`` or ``plane``.
        text: of the form that the module describes.

    Raises:
        BadInputError: it has another form, or too many corners.
        NotFoundError: the run has no such group or keys.
        NotAnalysedError: it has no map of contexts.
    """
    return _read_cells(ctx, text) if kind == CELLS else _read_plane(ctx, text)


def _read_cells(ctx: Context, text: str) -> Region:
    match = _CELLS.fullmatch(text)
    if match is None:
        raise BadInputError(f"{text!r} names no region; write group:i-i,j-j, such as 0:10-20,30-40.")
    group, top, bottom, left, right = map(int, match.groups())
    ctx.run.check_group(group)
    keys = ctx.run.num_keys
    if max(top, bottom, left, right) >= keys:
        raise NotFoundError(f"there is no region {text}; keys run from 0 to {keys - 1}.")
    (top, bottom), (left, right) = sorted((top, bottom)), sorted((left, right))
    ids = ctx.experts(group).index.to_numpy()
    i, j = np.divmod(ids, keys)
    inside = (i >= top) & (i <= bottom) & (j >= left) & (j <= right)
    return Region(group, by_mass(ctx, group, ids[inside]), (bottom - top + 1) * (right - left + 1))


def _read_plane(ctx: Context, text: str) -> Region:
    match = _PLANE.fullmatch(text)
    if match is None:
        raise BadInputError(f"{text!r} names no region; write group:x,y;x,y;x,y, the corners of a polygon.")
    corners = np.array([part.split(",") for part in match[2].split(";")], dtype=np.float64)
    if not 3 <= len(corners) <= MOST_CORNERS:
        raise BadInputError(f"the region has {len(corners)} corners; a polygon has 3 to {MOST_CORNERS}.")
    group = int(match[1])
    points = read_map(ctx.run, group)
    inside = inside_polygon(points[["x", "y"]].to_numpy(), corners)
    ids = points.index.to_numpy()[inside]
    return Region(group, by_mass(ctx, group, ids), len(ids))


def by_mass(ctx: Context, group: int, experts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Active experts, largest mass first; of equal ones the lower id comes first."""
    mass = ctx.experts(group)["mass"].loc[experts].to_numpy()
    return experts[np.lexsort((experts, -mass))]


def inside_polygon(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each point is inside a polygon, by the even-odd rule.

    Args:
        points: (n, 2).
        corners: (k, 2), in order around it; the last is joined to the first.

    Returns:
        (n,).

    Examples:
        >>> import numpy as np
        >>> triangle = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
        >>> inside_polygon(np.array([[0.5, 0.5], [1.5, 1.5]]), triangle).tolist()
        [True, False]
    """
    inside = np.zeros(len(points), bool)
    x, y = points.T
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
    return inside


def region_csv(ctx: Context, region: Region) -> bytes:
    """The experts of a region as CSV: ids, keys, label, statistics and scores; ``read_csv`` of reports reads it."""
    table = ctx.experts(region.group).loc[region.experts]
    i, j = np.divmod(region.experts, ctx.run.num_keys)
    names = pa.array([guarded(name) for name in table["specialised"].cat.categories], pa.string())
    labels = pa.DictionaryArray.from_arrays(pa.array(table["specialised"].cat.codes.to_numpy(np.int32)), names)
    numbers = [
        "tokens",
        "mass",
        "mean",
        "max",
        "token_entropy",
        "interest",
        *(name for name in SCORES if name in table),
    ]
    columns = {
        "group": np.full(len(table), region.group),
        "expert": region.experts,
        "i": i,
        "j": j,
        "specialised": labels.dictionary_decode(),
        **{name: pa.array(table[name], from_pandas=True) for name in ("confirmed", *numbers)},
    }
    written = io.BytesIO()
    write_csv(pa.table(columns), written)
    return written.getvalue()
