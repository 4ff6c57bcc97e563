"""Stored results of analyses: one versioned JSON document each, with its tables as Parquet beside it.

A result lives in ``RUN/analysis`` and never among the hashed files of the run. Its document opens with a header: kind,
version, and the run it belongs to. So a file of an older version is upgraded or refused by name, and one copied from
another run is not mistaken for this one's. A second setting is kept beside the first under a name:
``RUN/analysis/NAME``. Importing this module imports no torch, so that pages and reports read results quickly.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import BadInputError, DamagedError, NotAnalysedError, UnsupportedError, WorkbenchError
from ..store.files import write_json, write_parquet
from ..store.rowfile import RowFile
from ..store.sample import Sample

if TYPE_CHECKING:
    from ..store import Run

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
HEADER = "result"  # key of the header in a JSON document; b"monet.result" in a table's metadata
R = TypeVar("R", bound="Result")


class Result:
    """Base of the results that a run keeps. Subclasses are dataclasses and set the class variables.

    Attributes:
        kind: name of the file without its ending, such as ``mask``.
        version: of what ``to_json`` writes and the tables hold; raise it when either changes.
        command: what computes it, such as ``monet mask``; messages name it.
        tables: attributes that are DataFrames, kept as ``{kind}-{attribute}.parquet`` and not in the document.
        drawn: the sample of the run's documents that was read; None where all were. Kept in the header.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    command: ClassVar[str]
    tables: ClassVar[tuple[str, ...]] = ()
    drawn: Sample | None = None

    def to_json(self) -> dict[str, Any]:
        """The document: JSON types, and NaN or infinity where a number does not exist (stored as null)."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` and the tables describe; a missing key may raise KeyError."""
        raise NotImplementedError

    @classmethod
    def command_line(cls, run: Run, name: str | None) -> str:
        """The command that computes the result of a run that is kept under a name."""
        return f"{cls.command} {shlex.quote(str(run.path))}" + (f" --name {name}" if name else "")

    @classmethod
    def upgrade(cls, stored: dict[str, Any], version: int) -> dict[str, Any]:
        """A document of an older version in the present form; a subclass overrides it when it changes that form.

        Version 0 is a document without a header, and needs no change; if it lacks a field, ``from_json`` finds out.

        Raises:
            KeyError: the document lacks what the present form needs.
        """
        if version == 0:
            return stored
        raise KeyError(version)


def result_path(run: Run, file: str, name: str | None = None) -> Path:
    """Where a run keeps a file of its results: ``RUN/analysis/file``, or ``RUN/analysis/name/file``.

    Raises:
        BadInputError: the name has other characters than letters, digits, ``_``, ``.`` and ``-``.
    """
    return run.analysis_path(file if name is None else f"{check_name(name)}/{file}")


def check_name(name: str) -> str:
    """The name, if a result can be kept under it.

    Raises:
        BadInputError: it cannot.
    """
    if not NAME.fullmatch(name):
        raise BadInputError(f"a result cannot be named {name!r}; use up to 64 letters, digits, _, . and -.")
    return name


def write_result(run: Run, result: Result, name: str | None = None) -> None:
    """Keep a result, in place of the last one of its kind and name; the document comes last, so a crash leaves the old.

    Args:
        run: the run it was computed from.
        result: the result.
        name: keep it beside the unnamed one, under this name.
    """
    if run.drawn is not None:
        object.__setattr__(result, "drawn", run.drawn)  # a frozen dataclass, of which this is no field
    for table in result.tables:
        write_table(run, type(result), f"{result.kind}-{table}.parquet", getattr(result, table), name)
    header = {HEADER: _header(run, type(result))}
    write_json(result_path(run, f"{result.kind}.json", name), header | result.to_json())


def read_result(run: Run, cls: type[R], name: str | None = None) -> R | None:
    """The stored result of a kind, or None where there is none.

    Raises:
        DamagedError: the file is cut or changed.
        UnsupportedError: it is of a version that this program does not read, or belongs to another run.
    """
    path = result_path(run, f"{cls.kind}.json", name)
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged ({error}); {_again(run, cls, name)}.") from error
    if not isinstance(stored, dict):
        raise DamagedError(f"{path} is not a result; {_again(run, cls, name)}.")
    header = stored.pop(HEADER, None)
    version = _check_header(run, cls, path, header, name)
    try:
        if version != cls.version:
            stored = cls.upgrade(stored, version)
        tables = {table: read_table(run, cls, f"{cls.kind}-{table}.parquet", name) for table in cls.tables}
        result = cls.from_json(stored, tables)
        if header and header.get("sample"):
            object.__setattr__(result, "drawn", Sample.from_json(header["sample"]))
        return result
    except WorkbenchError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UnsupportedError(
            f"{path} is of version {version} of {cls.kind} results and lacks {error}, which this program needs; "
            f"{_again(run, cls, name)}."
        ) from error


def write_table(
    run: Run,
    cls: type[Result],
    file: str,
    table: pd.DataFrame,
    name: str | None = None,
    row_group_size: int | None = None,
) -> None:
    """Keep a table of a result, with the header in the file's metadata; an index that has a name becomes a column.

    A table of which few rows are read at a time, by ``open_table``, says how many rows are read together.
    """
    arrow = pa.Table.from_pandas(table.reset_index() if table.index.name else table, preserve_index=False)
    header = json.dumps(_header(run, cls)).encode()
    arrow = arrow.replace_schema_metadata((arrow.schema.metadata or {}) | {b"monet.result": header})
    write_parquet(result_path(run, file, name), arrow, row_group_size=row_group_size)


def open_table(run: Run, cls: type[Result], file: str) -> RowFile:
    """A table as ``write_table`` kept it, to read some of its rows; raises what ``read_table`` raises."""
    path = result_path(run, file, None)
    if not path.is_file():
        raise NotAnalysedError(f"{run.path} has no {file}; run `{cls.command_line(run, None)}`.")
    try:
        table = RowFile(path)
        header = json.loads((table.schema.metadata or {}).get(b"monet.result", b"null"))
    except ValueError as error:
        raise DamagedError(f"{path} is damaged ({error}); {_again(run, cls, None)}.") from error
    _check_header(run, cls, path, header, None)
    return table


def read_table(run: Run, cls: type[Result], file: str, name: str | None = None) -> pd.DataFrame:
    """A table as ``write_table`` kept it, or one of version 0, which has no header.

    Raises:
        NotAnalysedError: there is none.
        DamagedError: the file is cut or changed.
        UnsupportedError: it belongs to another run, or is of a newer version.
    """
    path = result_path(run, file, name)
    if not path.is_file():
        raise NotAnalysedError(f"{run.path} has no {file}; run `{cls.command_line(run, name)}`.")
    try:
        arrow = pq.read_table(path)
        header = json.loads((arrow.schema.metadata or {}).get(b"monet.result", b"null"))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DamagedError(f"{path} is damaged ({error}); {_again(run, cls, name)}.") from error
    _check_header(run, cls, path, header, name)
    return arrow.to_pandas()


def group_file(cls: type[Result], group: int) -> str:
    """Name of the table that a result keeps for each group, such as ``scores-group-0.parquet``."""
    return f"{cls.kind}-group-{group}.parquet"


def read_group_table(
    run: Run, cls: type[Result], group: int, columns: Collection[str], name: str | None = None
) -> pd.DataFrame:
    """The table that a result keeps for a group; its index is ``expert``.

    Args:
        run: the run.
        cls: the kind of result.
        group: the group.
        columns: what the table must have.
        name: of the result.

    Raises:
        NotFoundError: the run has no such group.
        NotAnalysedError: there is no such table.
        DamagedError: the file is cut or changed.
        UnsupportedError: it belongs to another run, is of another version, or lacks columns.
    """
    file = group_file(cls, run.check_group(group))
    table = read_table(run, cls, file, name)
    if missing := sorted({"expert", *columns} - set(table.columns)):
        raise UnsupportedError(
            f"{result_path(run, file, name)} lacks the columns {', '.join(missing)}; {_again(run, cls, name)}."
        )
    return table.set_index("expert")


def rows_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The table of a stored document's rows, null read as NaN; KeyError or TypeError where a row lacks a column."""
    table = pd.DataFrame([{column: row[column] for column in columns} for row in rows], columns=list(columns))
    return table.astype({column: np.float64 for column in columns if len(table) and table[column].isna().all()})


def fields_of(result: Result) -> dict[str, Any]:
    """The fields of a result that is a dataclass, by name."""
    return {field.name: getattr(result, field.name) for field in fields(result)}  # type: ignore[arg-type]


def source_of(run: Run) -> str:
    """What identifies the run that a result belongs to: a digest of model, corpus and settings of the export."""
    manifest = run.manifest
    made_from = [manifest["model"].get("hash"), manifest["corpus"].get("hash"), manifest["settings"]]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def _header(run: Run, cls: type[Result]) -> dict[str, Any]:
    header = {"kind": cls.kind, "version": cls.version, "source": source_of(run)}
    return header if run.drawn is None else header | {"sample": run.drawn.to_json()}


def _check_header(run: Run, cls: type[Result], path: Path, header: Any, name: str | None) -> int:
    """The version that a header gives; 0 where there is none."""
    if header is None:
        return 0
    if not isinstance(header, dict) or header.get("kind") != cls.kind or not isinstance(header.get("version"), int):
        raise DamagedError(f"{path} is not a {cls.kind} result; {_again(run, cls, name)}.")
    if header.get("source") != source_of(run):
        raise UnsupportedError(f"{path} was computed from another run than {run.path}; {_again(run, cls, name)}.")
    version: int = header["version"]
    if version > cls.version:
        raise UnsupportedError(
            f"{path} is of version {version} of {cls.kind} results, and this program reads up to {cls.version}; "
            f"update the workbench, or {_again(run, cls, name)}."
        )
    return version


def _again(run: Run, cls: type[Result], name: str | None) -> str:
    return f"run `{cls.command_line(run, name)}` again"
