"""A Parquet file opened once, from which rows are read without reading the rest."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import DamagedError
from .remote import RemoteFile


class RowFile:
    """Reads whole row groups, the smallest unit of Parquet; threads may share one.

    Args:
        path: of the file, here or in a remote run, where only the ranges asked for are read.

    Raises:
        DamagedError: the file is missing, or is not Parquet.
    """

    def __init__(self, path: Path | RemoteFile) -> None:
        self.path = path
        self._lock = Lock()
        try:
            source = path.open() if isinstance(path, RemoteFile) else path
            self._file = pq.ParquetFile(source, pre_buffer=source is not path)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._damaged(error) from error
        metadata = self._file.metadata
        self._ends = np.cumsum([metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)], dtype=np.int64)
        self._spans: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return len(self._ends)

    @property
    def ends(self) -> NDArray[np.int64]:
        """The row after the last one of each row group."""
        return self._ends

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._file.schema_arrow

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._file.schema_arrow.names)

    def _damaged(self, error: Exception) -> DamagedError:
        return DamagedError(f"{self.path} cannot be read ({error}); `monet verify` lists what is damaged in the run.")

    def read(self, groups: NDArray[np.integer] | None = None, columns: list[str] | None = None) -> pa.Table:
        """Row groups by number, all by default."""
        wanted = range(len(self._ends)) if groups is None else groups
        try:
            with self._lock:
                return self._file.read_row_groups([int(g) for g in wanted], columns=columns, use_threads=groups is None)
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from error

    def rows(self, rows: NDArray[np.int64], columns: list[str] | None = None) -> tuple[pa.Table, NDArray[np.int64]]:
        """The row groups that hold some rows, and where in them each of these is."""
        group = np.searchsorted(self._ends, rows, side="right")
        needed, at = np.unique(group, return_inverse=True)
        starts = np.concatenate([[0], self._ends])[needed]
        before = np.cumsum(self._ends[needed] - starts) - (self._ends[needed] - starts)
        return self.read(needed, columns), rows - starts[at] + before[at]

    def equal(self, column: str, value: int, columns: list[str]) -> pa.Table:
        """Rows whose ``column`` is ``value``, in a file that ascends in it."""
        if column not in self._spans:
            self._spans[column] = self.spans(column)
        least, most = self._spans[column]
        groups = np.arange(np.searchsorted(most, value), np.searchsorted(least, value, side="right"))
        table = self.read(groups, list({column: None, **dict.fromkeys(columns)}))
        values = table.column(column).to_numpy()
        begin, end = np.searchsorted(values, value), np.searchsorted(values, value, side="right")
        return table.select(columns).slice(begin, end - begin)

    def spans(self, column: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Least and greatest value of a column in each row group, as the file says.

        Raises:
            DamagedError: it does not say.
        """
        metadata, at = self._file.metadata, self.columns.index(column)
        statistics = [metadata.row_group(n).column(at).statistics for n in range(metadata.num_row_groups)]
        if not all(s is not None and s.has_min_max for s in statistics):
            raise DamagedError(f"{self.path} has no statistics of {column}; it is not as the export wrote it.")
        return np.array([s.min for s in statistics]), np.array([s.max for s in statistics])
