"""Tables on their way to a memory-mapped one: a corpus may exceed memory, and its types are known at its end."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from .values import json_text

_JSON = {b"json": b"1"}  # marks a column of JSON, until the end


def field(name: str, kind: pa.DataType, is_json: bool = False) -> pa.Field:
    """Return the field of a column, marked if it is the JSON of other values."""
    return pa.field(name, kind, metadata=_JSON if is_json else None)


class Spool:
    """Writes tables to a file, whatever columns each has, and reads them back as one, memory-mapped.

    A column is of the type that all its values have; null fits any, whole numbers become floats beside floats, and
    types that do not go together become JSON. A column that a table lacks is null there.

    The files are in a temporary folder (``TMPDIR``), and are removed when the table is open: the system keeps what is
    mapped until it is no longer used.

    Examples:
        >>> import pyarrow as pa
        >>> with Spool() as spool:
        ...     spool.add(pa.table({"a": pa.array([1])}))
        ...     spool.add(pa.table({"a": pa.array(["x"]), "b": [True]}))
        ...     spool.table().to_pylist()
        [{'a': '1', 'b': None}, {'a': '"x"', 'b': True}]
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="monet-corpus-"))
        self._schema = pa.schema([])
        self._files: list[Path] = []
        self._writer: pa.RecordBatchFileWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, table: pa.Table) -> None:
        """Write a table; its fields are those of ``field``."""
        merged = _merged(self._schema, table.schema)
        if self._writer is None or not merged.equals(self._schema, check_metadata=True):
            self._close()
            self._schema = merged
            self._open()
        assert self._writer is not None
        self._writer.write_table(_fitted(table, self._schema))

    def table(self) -> pa.Table:
        """Return everything written, as one table."""
        self._close()
        if len(self._files) > 1:  # the types of the first tables were not those of all
            parts = self._files[:]
            self._open()
            for part in parts:
                with pa.memory_map(str(part)) as mapped:
                    reader = pa.ipc.open_file(mapped)
                    for i in range(reader.num_record_batches):
                        batch = pa.Table.from_batches([reader.get_batch(i)])
                        self._writer.write_table(_fitted(batch, self._schema))  # type: ignore[union-attr]
                part.unlink()
            self._close()
        if not self._files:
            return pa.table({})
        with pa.memory_map(str(self._files[-1])) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
        return table.cast(pa.schema([pa.field(one.name, one.type) for one in table.schema]))

    def _open(self) -> None:
        self._files.append(self._folder / f"{len(self._files)}.arrow")
        self._writer = pa.ipc.new_file(str(self._files[-1]), self._schema)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _is_json(one: pa.Field) -> bool:
    return bool(one.metadata) and b"json" in one.metadata


def _merged(first: pa.Schema, second: pa.Schema) -> pa.Schema:
    fields = {one.name: one for one in first}
    for one in second:
        fields[one.name] = _fitting(fields[one.name], one) if one.name in fields else one
    return pa.schema(list(fields.values()))


def _fitting(first: pa.Field, second: pa.Field) -> pa.Field:
    """The field whose type holds the values of both."""
    if pa.types.is_null(second.type):
        return first
    if pa.types.is_null(first.type):
        return second
    if _is_json(first) or _is_json(second):
        return field(first.name, pa.string(), True)
    if first.type == second.type:
        return first
    try:
        one, two = pa.schema([first]), pa.schema([second])
        return field(first.name, pa.unify_schemas([one, two], promote_options="permissive").field(0).type)
    except pa.ArrowException:
        return field(first.name, pa.string(), True)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for wanted in schema:
        at = table.schema.get_field_index(wanted.name)
        if at < 0:
            columns.append(pa.nulls(table.num_rows, wanted.type))
            continue
        values = table.column(at)
        if _is_json(wanted) and not _is_json(table.schema.field(at)):
            texts = [None if value is None else json_text(value) for value in values.to_pylist()]
            columns.append(pa.array(texts, pa.string()))
        else:
            columns.append(values.cast(wanted.type, safe=False))
    return pa.Table.from_arrays(columns, schema=schema)
