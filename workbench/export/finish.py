"""The files that close a run: one row an expert seen, every expert's best tokens, and a sample of its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..store.files import write_parquet
from ..store.remote import Place, in_ranges
from ..store.rowfile import RowFile
from ..store.schema import EXAMPLES, HISTOGRAM_BINS, INTERVALS, group_name, part_name
from .state import Totals

EXPERTS_ROW_GROUP = 4096
EXAMPLES_ROW_GROUP = 4096
# Smaller than with dictionaries, and written three times as fast.
_ENCODING = {"score": "BYTE_STREAM_SPLIT"} | dict.fromkeys(("expert", "bin", "row", "token"), "DELTA_BINARY_PACKED")


def write_group(path: Place, group: int, total: Totals, labels: list[str], parts: list[dict[str, Any]]) -> list[str]:
    """The three files of a group; returns their names."""
    best_rows = total.statistics.best_rows.numpy()
    kept = best_rows >= 0
    expert = np.repeat(np.arange(len(kept)), kept.sum(1))
    score, row = total.statistics.best_scores.numpy()[kept], best_rows[kept]
    names = [write_experts(path, group, total, labels)]
    names.append(_write_tokens(path, group_name("examples", group), EXAMPLES, [expert, score, row], parts))
    names.append(_write_tokens(path, group_name("intervals", group), INTERVALS, [*total.sample.columns()], parts))
    return names


def write_experts(path: Place, group: int, total: Totals, labels: list[str]) -> str:
    """Statistics of a group's experts that were active at least once, by ascending id; returns the file's name."""
    statistics = total.statistics
    active = statistics.tokens.numpy().sum(1)
    seen = np.flatnonzero(active)
    tokens, mass = statistics.tokens.numpy()[seen], statistics.masses.numpy()[seen]
    all_mass = mass.sum(1)
    counts = statistics.histogram.numpy()[seen].reshape(-1)
    histogram = pa.FixedSizeListArray.from_arrays(pa.array(counts), HISTOGRAM_BINS)
    columns: dict[str, Any] = {
        "expert": seen.astype(np.int32),
        "tokens": active[seen],
        "mass": all_mass,
        "mean": all_mass / active[seen],
        "max": statistics.maximum.numpy()[seen],
    }
    columns |= {f"tokens:{label}": np.ascontiguousarray(tokens[:, n]) for n, label in enumerate(labels)}
    columns |= {f"mass:{label}": np.ascontiguousarray(mass[:, n]) for n, label in enumerate(labels)}
    name = group_name("experts", group)
    write_parquet(path / name, pa.table({**columns, "histogram": histogram}), row_group_size=EXPERTS_ROW_GROUP)
    return name


def _write_tokens(
    path: Place, name: str, schema: pa.Schema, columns: list[NDArray], parts: list[dict[str, Any]]
) -> str:
    """A file of ``columns``, the last of which are token rows, and of the token of each; returns its name."""
    rows = columns[-1]
    token = np.zeros(len(rows), np.int32)
    order = np.argsort(rows)
    ends = np.searchsorted(rows, [part["rows"][1] for part in parts], sorter=order)
    for part, here in zip(parts, np.split(order, ends[:-1]), strict=True):
        file = RowFile(in_ranges(path, part_name("tokens", part["part"])))
        token[here] = file.read(columns=["token"])["token"].to_numpy()[rows[here] - part["rows"][0]]
    arrays = [pa.array(column).cast(kind.type) for column, kind in zip([*columns, token], schema, strict=True)]
    encoding = {column: _ENCODING[column] for column in schema.names}
    table = pa.Table.from_arrays(arrays, schema=schema)
    write_parquet(path / name, table, row_group_size=EXAMPLES_ROW_GROUP, use_dictionary=False, column_encoding=encoding)
    return name
