"""A report as a file: one HTML page, JSON document, CSV or Parquet table, written whole or not at all."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import BadInputError, NotFoundError
from ..store.files import replacing
from .csv_text import NUL_SHOWN, to_csv
from .kinds import KINDS, check_kind


@dataclass(frozen=True)
class Document:
    """A report before it is written in a format.

    Attributes:
        template: the HTML template in ``templates/``.
        content: everything the report holds, as JSON types; numbers that do not exist are None.
        table: its rows, as CSV and Parquet hold them.
    """

    template: str
    content: dict[str, Any]
    table: pd.DataFrame


def _html(report: Document) -> bytes:
    from .render import render

    return render(report.template, report.content).encode()


def _json(report: Document) -> bytes:
    return (json.dumps(without_nul(report.content), ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _csv(report: Document) -> bytes:
    return to_csv(report.table).encode()


def _parquet(report: Document) -> bytes:
    """The table; the file's metadata holds the whole report under ``monet.report``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain_table = report.table.apply(
        lambda column: column.map(without_nul) if column.dtype.kind not in "biuf" else column
    )
    table = pa.Table.from_pandas(plain_table, preserve_index=False)
    written = json.dumps(without_nul(report.content), ensure_ascii=False, allow_nan=False)
    content = {b"monet.report": written.encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata((table.schema.metadata or {}) | content), buffer)
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[Document], bytes]] = dict(zip(KINDS, (_html, _json, _csv, _parquet), strict=True))


def encode(report: Document, kind: str) -> bytes:
    """The bytes of a report's file.

    Raises:
        BadInputError: the format is none of ``KINDS``.
    """
    check_kind(kind)
    return _WRITERS[kind](report)


def save(content: bytes, out: str | Path) -> None:
    """Write a file whole, in place of any that exists, or not at all.

    Raises:
        NotFoundError: the folder of the file does not exist.
        BadInputError: the path is a folder, or cannot be written.
    """
    path = Path(out)
    if path.is_dir():
        raise BadInputError(f"{path} is a folder; name the file to write the report to.")
    if not path.parent.is_dir():
        raise NotFoundError(f"there is no folder {path.parent} to write the report to; make it first.")
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise BadInputError(f"the report cannot be written to {path}: {error.strerror}.") from error


def without_nul(value: Any) -> Any:
    """A value of JSON types with U+2400 in place of U+0000, which databases refuse, in all of its texts."""
    if isinstance(value, str):
        return value.replace("\0", NUL_SHOWN)
    if isinstance(value, dict):
        return {without_nul(name): without_nul(inner) for name, inner in value.items()}
    return [without_nul(inner) for inner in value] if isinstance(value, list | tuple) else value


def plain(value: Any) -> Any:
    """A number or text of a table as a JSON type; None where it is missing."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON types."""
    return [{name: plain(value) for name, value in row.items()} for row in table.to_dict("records")]
