"""Reading a file of a run to check it: the right columns, no missing values, nothing malformed."""

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
    schema: pa.Schema | tuple[pa.Schema, ...],
    *,
    rows: int | None = None,
    optional: Container[str] = (),
    ascending: str | None = None,
) -> pa.Table:
    """Read a file of ``schema``, or of one of several, of ``rows`` rows if given.

    Only ``optional`` columns may have missing values. If a column must be ``ascending``, so that rows are found by it,
    the file's statistics of its row groups must match.

    Raises:
        Wrong: one of these does not hold.
        DamagedError: the file cannot be read.
    """
    file = RowFile(in_ranges(path, name))
    if rows is not None:  # before anything is read
        expect(len(file) == rows, f"it has {len(file):,} rows, and should have {rows:,}")
    table = file.read()
    allowed = schema if isinstance(schema, tuple) else (schema,)
    expect(any(table.schema.equals(one) for one in allowed), OTHER_COLUMNS)
    table.validate(full=True)
    nulls = [name for name in table.column_names if name not in optional and table[name].null_count]
    expect(not nulls, f"{', '.join(nulls)} has missing values")
    if ascending is not None:
        values, spans = table[ascending].to_numpy(), file.spans(ascending)
        expect((np.diff(values) >= 0).all(), f"{ascending} is not ascending")
        first, last = np.concatenate([[0], file.ends[:-1]]), file.ends - 1
        right = all(np.array_equal(values[at], said) for at, said in zip((first, last), spans, strict=True))
        expect(right, f"its statistics of {ascending} are wrong")
    return table
