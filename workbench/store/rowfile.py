"""A Parquet file opened once, from which rows are read without reading the rest."""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import DamagedError
from .remote import RemoteFile

Held = tuple[int, int, str]  # number of the file, row group, column
MOST_HELD = 64  # row groups of one reading that are held for the next: a page reads a few, an analysis all


class GroupCache:
    """The columns of row groups that were read last, of several files, up to a number of bytes: the parts of a page ask
    for the same ones again and again. Threads may share one.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._lock = Lock()
        self._columns: OrderedDict[Held, tuple[pa.ChunkedArray, int]] = OrderedDict()

    def get(self, key: Held) -> pa.ChunkedArray | None:
        """The column of a row group, if it is held."""
        with self._lock:
            if (found := self._columns.get(key)) is None:
                return None
            self._columns.move_to_end(key)
            return found[0]

    def put(self, key: Held, column: pa.ChunkedArray) -> None:
        """Hold a column, and let go of those asked for longest ago that no longer fit."""
        size = column.nbytes
        with self._lock:
            if key in self._columns or size > self._most:
                return
            self._columns[key] = column, size
            self._held += size
            while self._held > self._most:
                self._held -= self._columns.popitem(last=False)[1][1]


class RowFile:
    """Reads whole row groups, the smallest unit of Parquet; threads may share one.

    Args:
        path: of the file, here or in a remote run, where only the ranges asked for are read.
        cache: holds the row groups that were read last; of rows read once, nothing is held by default.

    Raises:
        DamagedError: the file is missing, or is not Parquet.
    """

    _numbers = count()

    def __init__(self, path: Path | RemoteFile, cache: GroupCache | None = None) -> None:
        self.path = path
        self._cache, self._number = cache or GroupCache(0), next(self._numbers)
        self._lock = Lock()
        try:
            source = path.open() if isinstance(path, RemoteFile) else path
            self._file = pq.ParquetFile(source, pre_buffer=source is not path)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._damaged(error) from error
        metadata = self._file.metadata
        self._ends = np.cumsum([metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)], dtype=np.int64)
        self._names = list(self._file.schema_arrow.names)
        self._spans: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
        self._whole: pa.Table | None = None

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
        return self._names

    def hold(self, most: int) -> int:
        """Read the whole file and hold it, unless it is larger than ``most`` bytes; the bytes that it takes.

        Raises:
            DamagedError: it cannot be read.
        """
        metadata = self._file.metadata
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        if self._whole is not None:
            return int(self._whole.nbytes)
        if sum(group.total_byte_size for group in groups) > most:
            return 0
        whole = self.read().combine_chunks()
        if whole.nbytes > most:  # encoded it was smaller
            return 0
        self._whole = whole
        return int(whole.nbytes)

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
        """A table that holds some rows, such as the row groups that they are in, and where in it each of them is."""
        if self._whole is not None:
            return self._whole if columns is None else self._whole.select(columns), rows
        group = np.searchsorted(self._ends, rows, side="right")
        needed, at = np.unique(group, return_inverse=True)
        starts = np.concatenate([[0], self._ends])[needed]
        before = np.cumsum(self._ends[needed] - starts) - (self._ends[needed] - starts)
        return self._few(needed, columns), rows - starts[at] + before[at]

    def _few(self, groups: NDArray[np.integer], columns: list[str] | None) -> pa.Table:
        """``read``, one row group after the other where they are few, so that the next reader finds them held; of a
        remote file, several at once, as each is an answer to wait for."""
        if self._whole is not None and len(groups) == 1:
            return self._held_group(self._whole if columns is None else self._whole.select(columns), int(groups[0]))
        if not 0 < len(groups) <= (1 if isinstance(self.path, RemoteFile) else MOST_HELD):
            return self.read(groups, columns)
        names = self._names if columns is None else columns
        tables = [self._group(group, names) for group in groups.tolist()]
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables)

    def _held_group(self, table: pa.Table, group: int) -> pa.Table:
        begin = int(self._ends[group - 1]) if group else 0
        return table.slice(begin, int(self._ends[group]) - begin)

    def _group(self, group: int, names: list[str]) -> pa.Table:
        held = {name: self._cache.get((self._number, group, name)) for name in names}
        if missing := [name for name, column in held.items() if column is None]:
            table = self.read(np.array([group]), missing)
            for name in missing:
                held[name] = column = table.column(name)
                self._cache.put((self._number, group, name), column)
        return pa.table(held)

    def equal(self, column: str, value: int, columns: list[str]) -> pa.Table:
        """Rows whose ``column`` is ``value``, in a file that ascends in it."""
        if column not in self._spans:
            self._spans[column] = self.spans(column)
        least, most = self._spans[column]
        groups = np.arange(np.searchsorted(most, value), np.searchsorted(least, value, side="right"))
        table = self._few(groups, list({column: None, **dict.fromkeys(columns)}))
        values = table.column(column).to_numpy()
        begin, end = np.searchsorted(values, value), np.searchsorted(values, value, side="right")
        return table.select(columns).slice(begin, end - begin)

    def among(self, column: str, values: NDArray[np.integer], columns: list[str]) -> pa.Table:
        """Rows whose ``column`` is one of ``values``, in a file that ascends in it; ``column`` is among the columns."""
        if column not in self._spans:
            self._spans[column] = self.spans(column)
        least, most = self._spans[column]
        first, last = np.searchsorted(most, values), np.searchsorted(least, values, side="right")
        changes = np.zeros(len(least) + 1, np.int64)  # +1 where the row groups of a value begin, -1 after they end
        np.add.at(changes, first, first < last)
        np.subtract.at(changes, last, first < last)
        table = self.read(np.flatnonzero(np.cumsum(changes[:-1])), list({column: None, **dict.fromkeys(columns)}))
        return table.filter(pa.array(np.isin(table.column(column).to_numpy(), values)))

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
