"""Texts that every tool can store."""

from __future__ import annotations

import re
from typing import Any

NULL = "\u2400"  # SYMBOL FOR NULL
_SURROGATES = re.compile("[\ud800-\udfff]")


def storable(value: Any) -> Any:
    """A JSON value whose texts databases and UTF-8 files take: U+0000 becomes U+2400, a lone surrogate U+FFFD."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value.replace("\0", NULL))
    if isinstance(value, dict):
        return {name: storable(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [storable(entry) for entry in value]
    return value
