"""Writing files so that a crash leaves the old one or the new one, never half of it; checksums of files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .remote import send_on
from .schema import TEMPORARY


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; it is synced and renamed to ``path`` at the end, removed on an exception.

    In the mirror of a remote run, the file is then sent to where the run is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(temporary)  # for a remote run it shows that this machine's disk is full
        raise
    sync_folder(path.parent)
    send_on(path)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_parquet(path: Path, table: pa.Table, **options: Any) -> None:
    """Write a table atomically; ``options`` are those of ``pyarrow.parquet.write_table``."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", **options)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically; NaN and infinity become null."""
    with replacing(path) as temporary:
        text = json.dumps(to_json_types(value), indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def to_json_types(value: Any) -> Any:
    """A value in types that JSON has: NumPy numbers and arrays become plain ones, NaN and infinity become None."""
    if isinstance(value, dict):
        return {name: to_json_types(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_types(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return to_json_types(value.tolist())
    if isinstance(value, np.generic):
        return to_json_types(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
