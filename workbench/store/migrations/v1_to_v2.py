"""Schema 1 to 2: an index of every part, tokens sampled from each octave of scores, and which routing is kept.

All of a schema 1 run's routing is stored, in half precision, so everything new follows from it, and `kept` is true for
every document. What was gathered from the model's float32 scores stays: statistics and best tokens. Only the sampled
tokens are of stored scores: a score within a rounding step of an octave's edge may be sampled from the octave beside
its own. The manifest's `migrated_from` says so, and `monet verify` allows for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cuda_ext import Statistics, accumulate
from cuda_ext.routing import Routing

from ...progress import Progress
from ..expert_files import expert_spans, sampled_tokens, token_table, write_pieces
from ..files import replacing, write_parquet
from ..index import INDEX, IndexWriter
from ..manifest import MIGRATED_FROM
from ..priority import priority
from ..remote import Place, file_size, in_ranges
from ..routing import Side, from_arrow
from ..rowfile import RowFile
from ..schema import (
    HISTOGRAM_BINS,
    INTERVAL_EXAMPLES,
    INTERVALS,
    TOKENS_ROW_GROUP,
    group_name,
    index_name,
    part_name,
    routing_name,
)
from .staging import Staging

MASS_UNIT = 2.0**-36  # schema 2 sums scores as whole multiples of it, so that sums do not depend on their order
ROW_GROUPS = 64  # of routing, read together


def migrate(run: Place, manifest: dict[str, Any], staging: Staging, advance: Progress) -> dict[str, Any]:
    """Write the files that schema 2 adds or changes; see ``workbench.store.migrations``."""
    files, parts = dict(manifest["files"]), [part | {"files": dict(part["files"])} for part in manifest["parts"]]
    for part in parts:
        name = part_name("documents", part["part"])
        if not staging.has(name):
            table = RowFile(in_ranges(run, name)).read()
            kept = pa.array(np.ones(len(table), bool))
            table = table.add_column(table.schema.get_field_index("text"), "kept", kept)
            write_parquet(staging.path(name), table, row_group_size=TOKENS_ROW_GROUP)
        part["files"][name] = staging.describe(name)
    for group in range(len(manifest["model"]["groups"])):
        _migrate_group(run, manifest, group, staging, advance)
        for part in parts:
            name = index_name(part["part"], group)
            if staging.has(name):
                part["files"][name] = staging.describe(name)
        for folder in ("experts", "intervals"):
            name = group_name(folder, group)
            files[name] = staging.describe(name)
    settings = manifest["settings"] | {"keep_routing": 1.0}
    migrated = {"schema": 2, "settings": settings, "parts": parts, "files": files, MIGRATED_FROM: 1}
    return manifest | migrated


def _migrate_group(run: Place, manifest: dict[str, Any], group: int, staging: Staging, advance: Progress) -> None:
    """Write a group's statistics, the index of each part, and its sampled tokens."""
    experts, intervals = (group_name(folder, group) for folder in ("experts", "intervals"))
    if staging.has(intervals):  # the last one written
        advance(manifest["parts"][-1]["rows"][1])
        return
    if not staging.has(experts):
        file = RowFile(in_ranges(run, experts))
        labels = manifest["labels"]
        write_pieces(staging.path(experts), (_in_units(file.read(at), labels) for at in _row_groups(file)))
    model = manifest["model"]
    sample = Statistics.empty(
        model["keys"], model["heads"], 1, best=1, per_document=1, bins=HISTOGRAM_BINS, sampled=INTERVAL_EXAMPLES
    )
    done = _load(sample, staging, group)
    for part in manifest["parts"]:
        if part["part"] >= done:
            for rows in _read_part(run, manifest, part, group, staging):
                _accumulate(sample, *rows, model)
                advance(len(rows[1]))
            _save(sample, staging, group, part["part"] + 1)
        else:
            advance(part["rows"][1] - part["rows"][0])
    counts = _histograms(RowFile(in_ranges(run, experts)), model["keys"] ** 2)
    write_pieces(
        staging.path(intervals),
        (
            token_table(INTERVALS, _at_most(counts, sampled_tokens(sample, span)), run, manifest["parts"])
            for span in expert_spans(sample, HISTOGRAM_BINS * INTERVAL_EXAMPLES * len(INTERVALS))
        ),
    )


def _row_groups(file: RowFile, together: int = 1) -> Iterator[NDArray[np.int64]]:
    for begin in range(0, file.groups, together):
        yield np.arange(begin, min(begin + together, file.groups))


def _in_units(table: pa.Table, labels: list[str]) -> pa.Table:
    """Statistics with each label's mass rounded to the unit of schema 2, and what follows from it."""
    masses = [np.rint(table[f"mass:{label}"].to_numpy() / MASS_UNIT) * MASS_UNIT for label in labels]
    total = np.sum(masses, axis=0)
    columns = {name: table[name] for name in table.column_names}
    columns |= {"mass": total, "mean": total / table["tokens"].to_numpy()}
    columns |= {f"mass:{label}": mass for label, mass in zip(labels, masses, strict=True)}
    bins = table["histogram"].combine_chunks().flatten()
    return pa.table(columns | {"histogram": pa.FixedSizeListArray.from_arrays(bins, HISTOGRAM_BINS)})


def _read_part(
    run: Place, manifest: dict[str, Any], part: dict[str, Any], group: int, staging: Staging
) -> Iterator[tuple[int, Side, Side]]:
    """A part's routing in order: the first row of each piece and both sides; its index is written on the way."""
    name, model = index_name(part["part"], group), manifest["model"]
    file, row = RowFile(in_ranges(run, routing_name(part["part"], group))), part["rows"][0]
    pieces = (from_arrow(file.read(at)) for at in _row_groups(file, ROW_GROUPS))
    if staging.has(name) or _is_index(run, name):
        for sides in pieces:
            yield row, *sides
            row += len(sides[0])
        return
    with (
        replacing(staging.path(name)) as temporary,
        IndexWriter(temporary, model["heads"], model["keys"]) as index,
    ):
        for sides in pieces:
            index.add(*sides)
            yield row, *sides
            row += len(sides[0])


def _is_index(run: Place, name: str) -> bool:
    """Whether the run has this index already, in its present form: later schema 1 runs do."""
    return file_size(run, name) is not None and RowFile(in_ranges(run, name)).schema.equals(INDEX)


def _accumulate(sample: Statistics, row: int, side1: Side, side2: Side, model: dict[str, Any]) -> None:
    arrays = [array for side in (side1, side2) for array in side.padded(model["heads"], model["keys"])]
    routing = Routing(*map(torch.from_numpy, arrays), num_keys=model["keys"])  # type: ignore[misc, arg-type]
    rows = np.arange(row, row + len(side1))
    where = (np.zeros(len(rows), np.int64), rows, rows, priority(rows))  # labels and documents do not matter here
    accumulate(sample, routing, *map(torch.from_numpy, where))


def _histograms(file: RowFile, experts: int) -> NDArray[np.int64]:
    """(experts, bins) active tokens in each octave, counted from the model's own scores."""
    counts = np.zeros((experts, HISTOGRAM_BINS), np.int64)
    for at in _row_groups(file):
        table = file.read(at, ["expert", "histogram"])
        bins = table["histogram"].combine_chunks().flatten().to_numpy()
        counts[table["expert"].to_numpy()] = bins.reshape(-1, HISTOGRAM_BINS)
    return counts


def _at_most(counts: NDArray[np.int64], columns: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Sampled tokens without those beyond an octave's true count: rounding moved them there from the octave beside."""
    expert, octave, *_ = columns
    cell = expert * HISTOGRAM_BINS + octave
    place = np.arange(len(cell)) - np.searchsorted(cell, cell)
    kept = place < counts[expert, octave]
    return [column[kept] for column in columns]


def _state_name(group: int) -> str:
    return f"sample-group-{group}.npz"


def _save(sample: Statistics, staging: Staging, group: int, parts: int) -> None:
    """Keep the sample of the first ``parts`` parts, for a migration that is interrupted."""
    arrays = {"priorities": sample.sample_priorities.numpy(), "scores": sample.sample_scores.numpy()}
    with replacing(staging.path(_state_name(group))) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, parts=np.array(parts), **arrays)


def _load(sample: Statistics, staging: Staging, group: int) -> int:
    """Take such a sample back; returns the number of its parts."""
    if not staging.has(_state_name(group)):
        return 0
    with np.load(staging.path(_state_name(group)), allow_pickle=False) as saved:
        sample.sample_priorities.copy_(torch.from_numpy(saved["priorities"]))
        sample.sample_scores.copy_(torch.from_numpy(saved["scores"]))
        return int(saved["parts"])
