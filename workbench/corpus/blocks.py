"""What every reader of files yields: a bounded number of rows by column, and where each row stands."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import pyarrow as pa

from ..errors import BadInputError, DamagedError

ROWS = 1000  # rows of a block, at most
BYTES = 4 << 20  # bytes after which a block ends

ENCODING_ERRORS = ("strict", "replace", "ignore", "skip")

_CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_POINTER = b"version https://git-lfs"  # what a clone holds where Git LFS is not installed

Item = TypeVar("Item")


class Number(str):
    """A number of a JSON file, as it is written there."""

    __slots__ = ()


@dataclass
class Block:
    """Some rows of a file.

    Attributes:
        columns: of equal length: lists of what is written (``Number`` for a number of JSON), or Arrow arrays.
        rows: number of each row in its file, from 0.
        end: number after the last row, also of those left out.
        place: where the row at a place in the block is written: "line 3 of c.jsonl".
        cells: whether the columns are cells of CSV, where everything is a string.
        undecodable: rows left out since they are not UTF-8.
        features: what `datasets` knows of the columns, such as the names of classes.
    """

    columns: Mapping[str, list[Any] | pa.Array]
    rows: Sequence[int]
    end: int
    place: Callable[[int], str]
    cells: bool = False
    undecodable: int = 0
    features: Mapping[str, Any] = field(default_factory=dict)


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed as its name tells.

    Raises:
        DamagedError: it is a pointer of Git LFS.
    """
    with path.open("rb") as file:
        head = file.read(len(_POINTER))
    if head == _POINTER:
        raise DamagedError(f"{path} is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`.")
    ending = path.suffix.lower()
    if ending == ".xz":
        return cast(BinaryIO, lzma.LZMAFile(path))
    if ending in _CODECS:
        return cast(BinaryIO, BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), _CODECS[ending])))
    return path.open("rb")


def check_utf16(head: bytes, path: Path) -> None:
    """Refuse text that begins with the byte-order mark of UTF-16.

    Raises:
        BadInputError: it does.
    """
    if head[:2] in _UTF16:
        raise BadInputError(f"{path} is UTF-16; convert it to UTF-8.")


def not_utf8(place: str) -> BadInputError:
    """Return the error for text that is not UTF-8, or holds half a surrogate pair."""
    return BadInputError(
        f"{place} is not UTF-8 text; convert it, or choose replace, ignore or skip with --encoding-errors."
    )


def reading(path: Path, items: Iterator[Item]) -> Iterator[Item]:
    """Yield from a reader of a file; whatever it raises for a broken file becomes a ``DamagedError``.

    Raises:
        DamagedError: the file cannot be read.
    """
    try:
        yield from items
    except (BadInputError, DamagedError):
        raise
    except (pa.ArrowException, EOFError, zlib.error, lzma.LZMAError, OSError, RecursionError) as error:
        raise DamagedError(f"{path} cannot be read: {_sentence(error)}.") from error


def _sentence(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
