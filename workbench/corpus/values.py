"""Values as they are written: labels, scores and the other columns of a block, as Arrow arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from .blocks import Number

INT64 = 1 << 63


def type_name(value: Any) -> str:
    """Return what a reader of the file calls a value: a string, a number, true or false, a list, an object."""
    if isinstance(value, Number) or (isinstance(value, int | float | np.number) and not isinstance(value, bool)):
        return "a number"
    kinds: list[tuple[Any, str]] = [
        (str, "a string"),
        (bool, "true or false"),
        ((list, tuple, np.ndarray), "a list"),
        (dict, "an object"),
    ]
    return next((name for kind, name in kinds if isinstance(value, kind)), f"of type {type(value).__name__}")


def label_text(value: Any) -> str | None:
    """Return a label as it is written, None for one that is missing.

    Examples:
        >>> label_text(True), label_text(1.0), label_text("01"), label_text(""), label_text(float("nan"))
        ('true', '1.0', '01', None, None)
    """
    if value is None or (isinstance(value, str) and (value == "" or (type(value) is Number and value == "NaN"))):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | np.floating) and math.isnan(value):
        return None
    return str(value)


def label_values(array: pa.Array) -> list[Any]:
    """Return the labels of an Arrow array; a float has as many digits as its type needs, as 1.0 or 0.1."""
    if pa.types.is_floating(array.type):
        return list(array.to_numpy(zero_copy_only=False))  # null is NaN here, and neither is a label
    values: list[Any] = (array.cast(pa.string()) if pa.types.is_temporal(array.type) else array).to_pylist()
    return values


def score_value(value: Any, cell: bool) -> float | None:
    """Return a score as a number, None where it is unknown.

    Args:
        value: number, null, or cell of CSV.
        cell: whether it is one.

    Raises:
        ValueError: it is no number, or infinite; the message goes after "has a score that is".

    Examples:
        >>> score_value("0.5", cell=True), score_value("", cell=True), score_value(None, cell=False)
        (0.5, None, None)
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool | np.bool_):
        raise ValueError("true or false, not a number")
    if isinstance(value, str) and not (cell or isinstance(value, Number)):
        raise ValueError(f"the string {value[:40]!r}, not a number")
    try:
        if isinstance(value, str) and "_" in value:  # which Python would take
            raise ValueError
        score = float(value)
    except (TypeError, ValueError):
        what = f"{value[:40]!r}" if isinstance(value, str) else type_name(value)
        raise ValueError(f"{what}, not a number") from None
    if math.isinf(score):
        raise ValueError("infinite")
    return None if math.isnan(score) else score


def json_text(value: Any) -> str:
    """Return a value as JSON, its numbers as they are written.

    Examples:
        >>> json_text({"a": [Number("1.0"), None, "é"]})
        '{"a": [1.0, null, "é"]}'
    """
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(str(k), ensure_ascii=False)}: {json_text(v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def column(values: Sequence[Any]) -> tuple[pa.Array, bool]:
    """Return a column of any values: strings, numbers or bools where all are, else their JSON.

    Returns:
        The array, and whether it is JSON.
    """
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.nulls(len(values)), False
    if kinds == {str}:
        return pa.array(values, pa.string()), False
    if kinds == {bool}:
        return pa.array(values, pa.bool_()), False
    if kinds == {Number}:
        if all(value is None or _whole(value) for value in values):
            return pa.array([None if v is None else int(v) for v in values], pa.int64()), False
        return pa.array([None if v is None else float(v) for v in values], pa.float64()), False
    return pa.array([None if v is None else json_text(v) for v in values], pa.string()), True


def _whole(number: str) -> bool:
    return len(number) < 20 and number.removeprefix("-").isdigit() and -INT64 <= int(number) < INT64


def token_ids(values: Sequence[Any]) -> Iterator[list[int] | None]:
    """Yield lists of token ids.

    Raises:
        ValueError: a value is no list of whole numbers.
    """
    for value in values:
        if value is None:
            yield None
        elif not isinstance(value, list) or not all(type(one) is Number and _whole(one) for one in value):
            raise ValueError
        else:
            yield [int(one) for one in value]
