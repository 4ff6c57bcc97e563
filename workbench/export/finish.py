"""The files that close a run: one row an expert seen, every expert's best tokens, and a sample of its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cuda_ext import Statistics

from ..store.files import replacing
from ..store.priority import number_of
from ..store.remote import Place, in_ranges
from ..store.rowfile import RowFile
from ..store.schema import EXAMPLES, HISTOGRAM_BINS, INTERVALS, group_name, part_name
from .state import Totals

ROW_GROUP = 8192  # experts, or their tokens: what is read for one; smaller ones take longer to write
AT_ONCE = 2**22  # numbers made before they are written: bounds memory


def write_group(path: Place, group: int, total: Totals, labels: list[str], parts: list[dict[str, Any]]) -> list[str]:
    """The three files of a group; returns their names."""
    statistics = total.statistics
    best, sampled = (t[0].numel() for t in (statistics.best_rows, statistics.sample_scores))
    width = 5 + 2 * len(labels) + HISTOGRAM_BINS

    def tokens(schema: pa.Schema, columns: list[NDArray]) -> pa.Table:
        columns = [*columns, _tokens_of(columns[-1], path, parts)]
        arrays = [pa.array(column).cast(field.type) for column, field in zip(columns, schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=schema)

    def runs(numbers: int) -> Iterator[slice]:
        """Runs of experts of which each has at most so many numbers."""
        step = max(1, AT_ONCE // numbers)
        return (slice(begin, begin + step) for begin in range(0, statistics.keys**2, step))

    tables = {
        "experts": (_experts(statistics, labels, run) for run in runs(width)),
        "examples": (tokens(EXAMPLES, _best_tokens(statistics, run)) for run in runs(best * len(EXAMPLES))),
        "intervals": (tokens(INTERVALS, sampled_tokens(statistics, run)) for run in runs(sampled * len(INTERVALS))),
    }
    names = [group_name(folder, group) for folder in tables]
    for name, pieces in zip(names, tables.values(), strict=True):
        _write(path / name, pieces)
    return names


def _experts(statistics: Statistics, labels: list[str], run: slice) -> pa.Table:
    """Statistics of those of a run of experts that were active at least once, by ascending id."""
    seen = run.start + np.flatnonzero(statistics.tokens.numpy()[run].any(1))
    tokens, mass, counts, maximum = (
        t.numpy()[seen] for t in (statistics.tokens, statistics.masses, statistics.histogram, statistics.maximum)
    )
    all_tokens, all_mass = tokens.sum(1), mass.sum(1)
    columns: dict[str, Any] = {
        "expert": seen.astype(np.int32),
        "tokens": all_tokens,
        "mass": all_mass,
        "mean": all_mass / all_tokens,
        "max": maximum,
    }
    columns |= {f"tokens:{label}": np.ascontiguousarray(tokens[:, n]) for n, label in enumerate(labels)}
    columns |= {f"mass:{label}": np.ascontiguousarray(mass[:, n]) for n, label in enumerate(labels)}
    histogram = pa.FixedSizeListArray.from_arrays(pa.array(counts.reshape(-1)), HISTOGRAM_BINS)
    return pa.table({**columns, "histogram": histogram})


def _best_tokens(statistics: Statistics, run: slice) -> list[NDArray]:
    """Expert, score and row of every best token of a run of experts, by expert and falling score."""
    scores, rows = (t.numpy()[run] for t in (statistics.best_scores, statistics.best_rows))
    kept = np.flatnonzero(rows >= 0)
    return [run.start + kept // rows.shape[1], scores.ravel()[kept], rows.ravel()[kept]]


def sampled_tokens(statistics: Statistics, run: slice) -> list[NDArray]:
    """Expert, bin, score and row of every sampled token of a run of experts, by expert, bin and priority."""
    priorities, scores = (t.numpy()[run] for t in (statistics.sample_priorities, statistics.sample_scores))
    kept = np.flatnonzero(priorities >= 0)
    expert, place = np.divmod(kept // priorities.shape[2], priorities.shape[1])
    return [run.start + expert, place, scores.ravel()[kept], number_of(priorities.ravel()[kept])]


def _tokens_of(rows: NDArray[np.int64], path: Place, parts: list[dict[str, Any]]) -> NDArray[np.int32]:
    """The token of each row."""
    token = np.zeros(len(rows), np.int32)
    part_of_row = np.searchsorted([part["rows"][1] for part in parts], rows, side="right")
    order = np.argsort(part_of_row.astype(np.min_scalar_type(len(parts))), kind="stable")  # fast for short numbers
    counts = np.bincount(part_of_row, minlength=len(parts))
    for part, here in zip(parts, np.split(order, np.cumsum(counts)[:-1]), strict=True):
        if len(here):
            file = RowFile(in_ranges(path, part_name("tokens", part["part"])))
            token[here] = file.read(columns=["token"])["token"].to_numpy()[rows[here] - part["rows"][0]]
    return token


def _write(path: Path, tables: Iterator[pa.Table]) -> None:
    """Counts have dictionaries, other numbers an encoding of their kind: smaller so, and faster to write."""
    first = next(tables)
    counts = [name for name in first.column_names if name.startswith("tokens")]
    options: dict[str, Any] = {
        "use_dictionary": [*counts, "histogram.list.element"],
        "column_encoding": {
            field.name: "BYTE_STREAM_SPLIT" if pa.types.is_floating(field.type) else "DELTA_BINARY_PACKED"
            for field in first.schema
            if field.name not in counts and field.name != "histogram"
        },
    }
    with replacing(path) as temporary, pq.ParquetWriter(temporary, first.schema, compression="zstd", **options) as file:
        for table in filter(len, chain([first], tables)):
            file.write_table(table, row_group_size=ROW_GROUP)
