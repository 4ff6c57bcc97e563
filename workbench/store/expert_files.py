"""Writing the files of a group's experts: statistics, best tokens, and tokens sampled from each octave of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .files import replacing
from .priority import number_of
from .remote import Place, in_ranges
from .rowfile import RowFile
from .schema import EXAMPLES, HISTOGRAM_BINS, INTERVALS, group_name, part_name

if TYPE_CHECKING:
    from torch import Tensor

    from cuda_ext import Statistics

EXPERTS_ROW_GROUP = 8192  # rows read to look up one expert; smaller row groups take longer to write
PIECE_NUMBERS = 2**22  # numbers held in memory before they are written


def write_group(
    path: Place, group: int, statistics: Statistics, maximum: Tensor, labels: list[str], parts: list[dict[str, Any]]
) -> list[str]:
    """Write a group's three files and return their names; ``maximum`` is the highest score of each expert."""
    best, sampled = (t[0].numel() for t in (statistics.best_rows, statistics.sample_scores))
    width = 5 + 2 * len(labels) + HISTOGRAM_BINS

    def tokens(schema: pa.Schema, columns: list[NDArray[Any]]) -> pa.Table:
        return token_table(schema, columns, path, parts)

    tables = {
        "experts": (_experts(statistics, maximum, labels, span) for span in expert_spans(statistics, width)),
        "examples": (
            tokens(EXAMPLES, _best_tokens(statistics, span)) for span in expert_spans(statistics, best * len(EXAMPLES))
        ),
        "intervals": (
            tokens(INTERVALS, sampled_tokens(statistics, span))
            for span in expert_spans(statistics, sampled * len(INTERVALS))
        ),
    }
    names = [group_name(folder, group) for folder in tables]
    for name, pieces in zip(names, tables.values(), strict=True):
        write_pieces(path / name, pieces)
    return names


def expert_spans(statistics: Statistics, numbers: int) -> Iterator[slice]:
    """Consecutive ranges of expert ids that together have about ``PIECE_NUMBERS``, at ``numbers`` per expert."""
    step = max(1, PIECE_NUMBERS // numbers)
    return (slice(begin, begin + step) for begin in range(0, statistics.keys**2, step))


def token_table(schema: pa.Schema, columns: list[NDArray[Any]], path: Place, parts: list[dict[str, Any]]) -> pa.Table:
    """A table of ``schema`` from its columns up to ``row``; the last one, the token ids, is looked up in the run."""
    columns = [*columns, _tokens_of(columns[-1], path, parts)]
    arrays = [pa.array(column).cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _experts(statistics: Statistics, maximum: Tensor, labels: list[str], span: slice) -> pa.Table:
    """Statistics of the experts in a range of ids that were active at least once, by ascending id."""
    seen = span.start + np.flatnonzero(statistics.tokens.numpy()[span].any(1))
    carried = None if statistics.carried is None else statistics.carried[seen]
    mass = replace(statistics, mass=statistics.mass[seen], carried=carried).masses.numpy()  # of these experts alone
    tokens, counts, highest = (t.numpy()[seen] for t in (statistics.tokens, statistics.histogram, maximum))
    all_tokens, all_mass = tokens.sum(1), mass.sum(1)
    columns: dict[str, Any] = {
        "expert": seen.astype(np.int32),
        "tokens": all_tokens,
        "mass": all_mass,
        "mean": all_mass / all_tokens,
        "max": highest,
    }
    columns |= {f"tokens:{label}": np.ascontiguousarray(tokens[:, n]) for n, label in enumerate(labels)}
    columns |= {f"mass:{label}": np.ascontiguousarray(mass[:, n]) for n, label in enumerate(labels)}
    histogram = pa.FixedSizeListArray.from_arrays(pa.array(counts.reshape(-1)), HISTOGRAM_BINS)
    return pa.table({**columns, "histogram": histogram})


def _best_tokens(statistics: Statistics, span: slice) -> list[NDArray[Any]]:
    """Expert, score and row of the best tokens of a range of experts, by expert, highest score first."""
    scores, rows = (t.numpy()[span] for t in (statistics.best_scores, statistics.best_rows))
    kept = np.flatnonzero(rows >= 0)
    return [span.start + kept // rows.shape[1], scores.ravel()[kept], rows.ravel()[kept]]


def sampled_tokens(statistics: Statistics, span: slice) -> list[NDArray[Any]]:
    """Expert, bin, score and row of the sampled tokens of a range of experts, by expert, bin and priority."""
    priorities, scores = (t.numpy()[span] for t in (statistics.sample_priorities, statistics.sample_scores))
    kept = np.flatnonzero(priorities >= 0)
    expert, place = np.divmod(kept // priorities.shape[2], priorities.shape[1])
    return [span.start + expert, place, scores.ravel()[kept], number_of(priorities.ravel()[kept])]


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


def write_pieces(path: Path, tables: Iterator[pa.Table]) -> None:
    """Write tables of one schema to a file, atomically.

    Counts are dictionary-encoded, other numbers by an encoding of their kind: smaller, and faster to write.
    """
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
            file.write_table(table, row_group_size=EXPERTS_ROW_GROUP)
