"""The files that close a run: one row an expert seen, and every expert's best tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..store.files import write_parquet
from ..store.schema import EXAMPLES, HISTOGRAM_BINS, group_name, part_name
from .statistics import Statistics
from .toplists import TopLists

EXPERTS_ROW_GROUP = 4096
EXAMPLES_ROW_GROUP = 4096


def write_experts(path: Path, group: int, statistics: Statistics, labels: list[str]) -> str:
    """Statistics of a group's experts that were active at least once, by ascending id; returns the file's name."""
    total = statistics.tokens.sum(1)
    seen = np.flatnonzero(total)
    tokens, mass = statistics.tokens[seen], statistics.mass[seen]
    all_mass = mass.sum(1)
    histogram = pa.FixedSizeListArray.from_arrays(pa.array(statistics.histogram[seen].reshape(-1)), HISTOGRAM_BINS)
    columns: dict[str, Any] = {
        "expert": seen.astype(np.int32),
        "tokens": total[seen],
        "mass": all_mass,
        "mean": all_mass / total[seen],
        "max": statistics.maximum[seen],
    }
    columns |= {f"tokens:{label}": np.ascontiguousarray(tokens[:, n]) for n, label in enumerate(labels)}
    columns |= {f"mass:{label}": np.ascontiguousarray(mass[:, n]) for n, label in enumerate(labels)}
    name = group_name("experts", group)
    write_parquet(path / name, pa.table({**columns, "histogram": histogram}), row_group_size=EXPERTS_ROW_GROUP)
    return name


def write_examples(path: Path, group: int, lists: TopLists, parts: list[dict[str, Any]]) -> str:
    """Best tokens of a group's experts, by expert, then best first; returns the file's name."""
    lists = lists.ranked()
    token = np.zeros(len(lists.row), np.int32)
    for part in parts:
        first, end = part["rows"]
        here = np.flatnonzero((lists.row >= first) & (lists.row < end))
        ids = pq.read_table(path / part_name("tokens", part["part"]), columns=["token"])["token"].to_numpy()
        token[here] = ids[lists.row[here] - first]
    table = pa.Table.from_arrays([pa.array(c) for c in (lists.expert, lists.score, lists.row, token)], schema=EXAMPLES)
    name = group_name("examples", group)
    write_parquet(path / name, table, row_group_size=EXAMPLES_ROW_GROUP)
    return name
