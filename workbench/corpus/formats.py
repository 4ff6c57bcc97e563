"""Reading Parquet and Arrow in blocks, typed as they are, and choosing the reader of a file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .blocks import BYTES, ROWS, Block, open_file, reading
from .names import COMPRESSED, file_format
from .text_formats import read_csv, read_json

if TYPE_CHECKING:
    from datasets import Dataset


def read_blocks(path: Path, name: str, errors: str) -> Iterator[Block]:
    """Read a file of any of the formats.

    Args:
        path: of the file.
        name: of it, for messages.
        errors: what to do with rows that are not UTF-8: strict, replace, ignore or skip.

    Yields:
        Its rows, in blocks.

    Raises:
        BadInputError: a row cannot be used.
        DamagedError: the file is truncated or not what its name tells.
    """
    kind = file_format(path)
    if kind == "json":
        return reading(path, read_json(path, name, errors))
    if kind == "csv":
        return reading(path, read_csv(path, name, errors))
    return reading(path, _read_typed(path, name, kind == "parquet"))


def read_dataset(data: Dataset, name: str) -> Iterator[Block]:
    """Read a `datasets.Dataset` in blocks; ``name`` is what messages call it."""
    tables = data.with_format("arrow").iter(batch_size=ROWS)
    batches = (batch for table in tables for batch in table.to_batches())
    return reading(Path(name), _typed_blocks(batches, name, dict(data.features)))


def _read_typed(path: Path, name: str, parquet: bool) -> Iterator[Block]:
    with tempfile.TemporaryFile() as plain:
        source: Any = str(path)
        with open_file(path) as stream:
            if path.suffix.lower() in COMPRESSED:
                shutil.copyfileobj(stream, plain)
                plain.seek(0)
                source = plain
        if parquet:
            with pq.ParquetFile(source) as file:
                features = _features(file.schema_arrow)
                yield from _typed_blocks(file.iter_batches(_rows_at_once(file.metadata)), name, features)
        else:
            with pa.memory_map(source) if source is not plain else pa.PythonFile(plain) as mapped:
                try:
                    opened = pa.ipc.open_file(mapped)
                    batches: Iterable[pa.RecordBatch] = map(opened.get_batch, range(opened.num_record_batches))
                except pa.ArrowInvalid:  # `datasets` writes streams
                    mapped.seek(0)
                    batches = opened = pa.ipc.open_stream(mapped)
                yield from _typed_blocks(batches, name, _features(opened.schema))


def _rows_at_once(metadata: Any) -> int:
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return int(max(1, min(ROWS, BYTES * max(metadata.num_rows, 1) // max(size, 1))))


def _typed_blocks(batches: Iterable[pa.RecordBatch], name: str, features: dict[str, Any]) -> Iterator[Block]:
    end = 0
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            part = batch.slice(start, ROWS)
            rows = range(end, end + part.num_rows)
            end = rows.stop
            columns = {key: _plain(part.column(i)) for i, key in enumerate(part.schema.names)}
            yield Block(columns, rows, end, lambda i, rows=rows: f"row {rows[i]} of {name}", features=features)  # type: ignore[misc]


def _plain(array: pa.Array) -> pa.Array:
    """An array without dictionary, run ends or views, which `datasets` does not know."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type) or pa.types.is_run_end_encoded(array.type):
        array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else pc.run_end_decode(array)
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    return array


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What `datasets` wrote of the columns into a file's metadata, if it did."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    from datasets import Features

    try:
        return dict(Features.from_arrow_schema(schema))
    except (ValueError, KeyError, TypeError, NotImplementedError):  # of another version, or changed
        return {}
