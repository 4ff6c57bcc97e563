"""Reading JSON, CSV and plain text in blocks: everything as it is written, no types guessed."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import BadInputError, DamagedError
from .blocks import BYTES, ROWS, Block, Number, check_utf16, not_utf8, open_file
from .names import bare

_BOM = b"\xef\xbb\xbf"
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SEPARATOR = re.compile(r"[ \t\r\n]*")
_CHUNK = 1 << 20  # characters read at once from an array of JSON


class Undecodable(Exception):
    """A row is not UTF-8, and such rows are to be left out."""


def read_json(path: Path, name: str, errors: str) -> Iterator[Block]:
    """Read objects, one a line or all in one array; numbers stay as they are written.

    Args:
        path: of the file.
        name: of it, for messages.
        errors: what to do with rows that are not UTF-8: strict, replace, ignore or skip.

    Raises:
        BadInputError: it is UTF-16, a row is not UTF-8 (strict), or not an object.
        DamagedError: it is not JSON.
    """
    with open_file(path) as stream:
        peeked = stream.read(64)
        while peeked and not peeked.removeprefix(_BOM).strip() and (more := stream.read(64)):
            peeked += more
    check_utf16(peeked, path)
    array = peeked.removeprefix(_BOM).lstrip().startswith(b"[")
    items = _array(path, name, errors) if array else _lines(path, name, errors)
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    places: list[int] = []
    size = undecodable = end = 0
    word = "item" if array else "line"
    for place, value, length in items:
        end += 1
        if value is None:
            undecodable += 1
            continue
        if not isinstance(value, dict):
            raise BadInputError(f"{word} {place} of {name} is not an object with the columns of a row.")
        rows.append(value)
        numbers.append(end - 1)
        places.append(place)
        size += length
        if len(rows) == ROWS or size > BYTES:
            yield _json_block(rows, numbers, places, end, word, name, undecodable)
            rows, numbers, places, size, undecodable = [], [], [], 0, 0
    if rows or undecodable:
        yield _json_block(rows, numbers, places, end, word, name, undecodable)


def _json_block(
    rows: list[dict[str, Any]], numbers: list[int], places: list[int], end: int, word: str, name: str, undecodable: int
) -> Block:
    keys = dict.fromkeys(chain.from_iterable(rows))
    columns = {key: [row.get(key) for row in rows] for key in keys}
    return Block(columns, numbers, end, lambda i: f"{word} {places[i]} of {name}", undecodable=undecodable)


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=Number)


def _lines(path: Path, name: str, errors: str) -> Iterator[tuple[int, Any, int]]:
    """Yield number, object and length of each line; None for one to leave out."""
    decode = _decoder().decode
    with open_file(path) as stream:
        for number, raw in enumerate(stream, 1):
            line = raw.removeprefix(_BOM) if number == 1 else raw
            if line.isspace() or not line:
                continue
            place = f"line {number} of {name}"
            try:
                text = decoded(line, place, errors)
                value = decode(text)
                if _ESCAPED_SURROGATE.search(text):
                    value = _mended(value, place, errors)
            except Undecodable:
                value = None
            except json.JSONDecodeError as error:
                raise DamagedError(f"{place} is not JSON: {error.msg} at character {error.pos + 1}.") from error
            yield number, value, len(raw)


def _array(path: Path, name: str, errors: str) -> Iterator[tuple[int, Any, int]]:
    """Yield number, object and length of each item of an array, which is never held whole."""
    scan = _decoder().raw_decode
    with open_file(path) as stream, TextIOWrapper(stream, "utf-8-sig", _lenient(errors), newline="") as file:
        text, at, number, chunk, ended = "", 0, 0, _CHUNK, False
        opened = closed = False
        while True:
            at = _SEPARATOR.match(text, at).end()  # type: ignore[union-attr]
            if at < len(text) and not opened:
                at, opened = at + 1, True
            elif at < len(text) and text[at] == "]":
                closed = True
                break
            elif at < len(text) and text[at] == "," and number:
                at += 1
            else:
                try:
                    value, after = scan(text, at)
                    if after == len(text) and not ended:  # a number may go on
                        raise json.JSONDecodeError("", text, after)
                except json.JSONDecodeError as error:
                    if ended:
                        raise DamagedError(
                            f"item {number + 1} of {name} is not JSON: {error.msg.removesuffix(' starting at')}."
                        ) from error
                    more = file.read(chunk)
                    ended = not more
                    text, at = text[at:] + more, 0
                    chunk *= 2  # an item longer than a chunk is not parsed again and again
                    continue
                number += 1
                written = text[at:after]
                try:
                    if not written.isascii() or _ESCAPED_SURROGATE.search(written):
                        value = _mended(value, f"item {number} of {name}", errors)
                except Undecodable:
                    value = None
                yield number, value, after - at
                at, chunk = after, _CHUNK
        if not closed or text[at + 1 :].strip() or file.read().strip():
            raise DamagedError(f"{name} goes on after the end of its array.")


def _lenient(errors: str) -> str:
    """How a stream is decoded such that rows that are not UTF-8 can be told apart where that matters."""
    return "surrogateescape" if errors in ("strict", "skip") else errors


def decoded(raw: bytes, place: str, errors: str) -> str:
    """Decode UTF-8.

    Raises:
        BadInputError: it is not UTF-8, and ``errors`` is strict.
        Undecodable: likewise, and it is skip.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if errors == "strict":
            raise not_utf8(place) from error
        if errors == "skip":
            raise Undecodable from error
        return raw.decode("utf-8", errors)


def _mended(value: Any, place: str, errors: str) -> Any:
    """Return a value of JSON without halves of surrogate pairs, which no UTF-8 can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError as error:
        if errors == "strict":
            raise not_utf8(place) from error
        if errors == "skip":
            raise Undecodable from error
        return _without_surrogates(value, errors)


def _without_surrogates(value: Any, errors: str) -> Any:
    if isinstance(value, dict):
        return {_without_surrogates(k, errors): _without_surrogates(v, errors) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(one, errors) for one in value]
    if isinstance(value, str) and not isinstance(value, Number):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", errors)
    return value


def read_csv(path: Path, name: str, errors: str) -> Iterator[Block]:
    """Read cells as strings; the header decides between comma, semicolon and tab.

    Args:
        path: of the file.
        name: of it, for messages.
        errors: what to do with rows that are not UTF-8: strict, replace, ignore or skip.

    Raises:
        BadInputError: it is UTF-16, a row is not UTF-8 (strict), or it has not as many cells as the header.
        DamagedError: its quotes are not those of CSV.
    """
    csv.field_size_limit(2**31 - 1)
    delimiter = _delimiter(path, "\t" if Path(bare(path.name)).suffix == ".tsv" else ",")
    with open_file(path) as stream, TextIOWrapper(stream, "utf-8-sig", _lenient(errors), newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = _header(next(reader, []), name)
            yield from _csv_blocks(reader, header, name, errors)
        except csv.Error as error:
            raise DamagedError(f"line {reader.line_num} of {name} is not CSV: {error}.") from error


def _csv_blocks(reader: Any, header: list[str], name: str, errors: str) -> Iterator[Block]:
    rows: list[list[str]] = []
    numbers: list[int] = []
    lines: list[int] = []
    size = undecodable = end = 0
    line = reader.line_num + 1

    def block() -> Block:
        columns = {key: list(cells) for key, cells in zip(header, zip(*rows, strict=True), strict=True)} if rows else {}
        at = lines
        return Block(columns, numbers, end, lambda i: f"line {at[i]} of {name}", True, undecodable)

    for row in reader:
        start, line = line, reader.line_num + 1
        if not row:  # an empty line
            continue
        if len(row) != len(header):
            raise BadInputError(f"line {start} of {name} has {len(row)} cells, and the header {len(header)}.")
        end += 1
        joined = "".join(row)
        if not joined.isascii() and not _encodes(joined):
            if errors == "strict":
                raise not_utf8(f"line {start} of {name}")
            undecodable += 1
            continue
        rows.append(row)
        numbers.append(end - 1)
        lines.append(start)
        size += len(joined)
        if len(rows) == ROWS or size > BYTES:
            yield block()
            rows, numbers, lines, size, undecodable = [], [], [], 0, 0
    if rows or undecodable:
        yield block()


def _delimiter(path: Path, usual: str) -> str:
    with open_file(path) as stream:
        check_utf16(stream.read(2), path)
    counts = {}
    for delimiter in dict.fromkeys((usual, ",", ";", "\t")):
        with open_file(path) as stream, TextIOWrapper(stream, "utf-8-sig", "replace", newline="") as file:
            try:
                counts[delimiter] = len(next(csv.reader(file, delimiter=delimiter), []))
            except csv.Error:
                counts[delimiter] = 0
    return max(counts, key=counts.__getitem__)


def _header(cells: list[str], name: str) -> list[str]:
    names = [cell or f"Unnamed: {i}" for i, cell in enumerate(cells)]  # as pandas calls the index that it writes
    if twice := [cell for i, cell in enumerate(names) if cell in names[:i]]:
        raise BadInputError(f"the header of {name} has the column {twice[0]!r} twice.")
    if not _encodes("".join(names)):
        raise not_utf8(f"the header of {name}")
    return names


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_texts(root: Path, files: list[Path], labels: list[str], errors: str) -> Iterator[Block]:
    """Read one document a file.

    Args:
        root: folder of the files; the source of a document is its path with this folder.
        files: paths below it.
        labels: of each file.
        errors: what to do with files that are not UTF-8: strict, replace, ignore or skip.

    Raises:
        BadInputError: a file is UTF-16 or not UTF-8 (strict).
    """
    rows: list[tuple[str, str, str]] = []
    numbers: list[int] = []
    size = undecodable = 0

    def block(end: int) -> Block:
        texts, classes, sources = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
        columns = {"text": texts, "label": classes, "source": sources}
        return Block(columns, numbers, end, lambda i: sources[i], undecodable=undecodable)

    for number, (relative, label) in enumerate(zip(files, labels, strict=True)):
        path = root / relative
        raw = path.read_bytes()
        try:
            if errors != "skip":
                check_utf16(raw, path)
            rows.append((decoded(raw.removeprefix(_BOM), str(path), errors), label, str(path)))
            numbers.append(number)
            size += len(raw)
        except Undecodable:
            undecodable += 1
        if len(rows) == ROWS or size > BYTES:
            yield block(number + 1)
            rows, numbers, size, undecodable = [], [], 0, 0
    if rows or undecodable:
        yield block(len(files))
