"""Reading a file of a run to check it: columns of the right kinds, nothing missing in them, nothing malformed."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import pyarrow as pa

from ..remote import Place, in_ranges
from ..rowfile import RowFile
from .problem import expect

OTHER_COLUMNS = "its columns are not those of this schema version"


def read(
    path: Place,
    name: str,
    schema: pa.Schema,
    *,
    rows: int | None = None,
    optional: Container[str] = (),
    ascending: str | None = None,
) -> pa.Table:
    """A file of ``schema``, and of so many rows if that is given; only ``optional`` columns may have nothing in a row.

    Rows must be found by a column that is ``ascending``: what the file says of its row groups has to be right.

    Raises:
        Wrong: it is not so.
        WorkbenchError: the file cannot be read.
    """
    file = RowFile(in_ranges(path, name))
    if rows is not None:  # before anything is read
        expect(len(file) == rows, f"it has {len(file):,} rows, and should have {rows:,}")
    table = file.read()
    expect(table.schema.equals(schema), OTHER_COLUMNS)
    table.validate(full=True)
    nulls = [name for name in table.column_names if name not in optional and table[name].null_count]
    expect(not nulls, f"{', '.join(nulls)} has nothing in some rows")
    if ascending is not None:
        values, spans = table[ascending].to_numpy(), file.spans(ascending)
        expect((np.diff(values) >= 0).all(), f"{ascending} does not ascend")
        first, last = np.concatenate([[0], file.ends[:-1]]), file.ends - 1
        right = all(np.array_equal(values[at], said) for at, said in zip((first, last), spans, strict=True))
        expect(right, f"it says wrong things of where {ascending} is")
    return table
