"""Formats of a report; naming them takes no pandas."""

from __future__ import annotations

from typing import Literal, get_args

from ..errors import BadInputError

Kind = Literal["html", "json", "csv", "parquet"]
KINDS: tuple[str, ...] = get_args(Kind)


def check_kind(kind: str) -> None:
    """Refuse an unknown format before anything is computed.

    Raises:
        BadInputError: the format is none of ``KINDS``.
    """
    if kind not in KINDS:
        raise BadInputError(f"there is no report format {kind!r}; choose one of {', '.join(KINDS)}.")
