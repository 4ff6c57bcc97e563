"""Experts sorted by a column of their statistics, filtered and paged; reads only the columns that this needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import NotFoundError
from .rowfile import RowFile

Bounds = dict[str, tuple[float | None, float | None]]


def best_experts(file: RowFile, by: str, where: Bounds, ascending: bool, offset: int, limit: int) -> pd.DataFrame:
    """A page of the experts in ``file``: see ``Run.top_experts``."""
    known = [name for name in file.columns if name != "histogram"]
    for name in (by, *where):
        if name not in known:
            raise NotFoundError(f"experts have no column {name!r}; they have {', '.join(known)}.")
    table = file.read(columns=list(dict.fromkeys((by, *where))))
    values = table[by].to_numpy()
    kept = np.flatnonzero(_within({name: table[name].to_numpy() for name in where}, where, len(values)))
    page = kept[_order(values[kept], ascending, offset + limit)[offset:]]
    shown, at = file.rows(page, known)
    return shown.take(at).to_pandas().set_index("expert")


def _within(columns: dict[str, NDArray[Any]], where: Bounds, rows: int) -> NDArray[np.bool_]:
    kept = np.ones(rows, bool)
    for name, (least, greatest) in where.items():
        if least is not None:
            kept &= columns[name] >= least
        if greatest is not None:
            kept &= columns[name] <= greatest
    return kept


def _order(values: NDArray[Any], ascending: bool, count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` first of ``values`` in order; of equal values, the earlier one is first."""
    falling = values if ascending else -values
    if count < len(falling):  # all that could be among the first, so that only they are sorted
        among = np.flatnonzero(falling <= np.partition(falling, count)[count])
    else:
        among = np.arange(len(falling))
    return among[np.argsort(falling[among], kind="stable")][:count]
