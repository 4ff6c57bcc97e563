"""Experts as people write them, `group:id` or `group:i,j`; and texts as parts of addresses."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError, NotFoundError

_SHARED_GROUP = re.compile(r"(?<![^\s,;])(\d{1,9})\s*:\s*(\d{1,9}(?:\s*,\s*\d{1,9})+)(?!\d|\s*:)")
_TILDES = re.compile("(?:~[0-9A-F]{2})+")


class Expert(NamedTuple):
    """One expert of a run, written ``group:id``.

    Attributes:
        group: number of its routing group.
        id: flat id ``i * E + j`` of the pair of keys (i, j).
    """

    group: int
    id: int

    def __str__(self) -> str:
        return f"{self.group}:{self.id}"


def read_expert(text: str, groups: list[int], num_keys: int, group: int | None = None) -> Expert:
    """The expert that a text names: ``group:id``, ``group:i,j``, or ``id`` alone where ``group`` is given.

    Raises:
        BadInputError: the text is not of that form.
        NotFoundError: the run has no such group or expert.
    """
    match = re.fullmatch(r"\s*(?:(\d{1,9})\s*:)?\s*(\d{1,9})(?:\s*,\s*(\d{1,9}))?\s*", text)
    if not match or (match[1] is None and group is None):
        raise BadInputError(f"{text!r} names no expert; write group:id, such as {groups[0]}:{num_keys + 1}.")
    chosen = int(match[1]) if match[1] is not None else int(group or 0)
    if chosen not in groups:
        raise NotFoundError(f"there is no group {chosen}; this run has the groups {', '.join(map(str, groups))}.")
    if match[3] is not None:
        i, j = int(match[2]), int(match[3])
        if max(i, j) >= num_keys:
            raise NotFoundError(f"there is no expert ({i}, {j}); keys run from 0 to {num_keys - 1}.")
        return Expert(chosen, i * num_keys + j)
    expert = int(match[2])
    if expert >= num_keys**2:
        raise NotFoundError(f"there is no expert {expert}; ids run from 0 to {num_keys**2 - 1}.")
    return Expert(chosen, expert)


def check_groups_given(text: str, num_keys: int) -> None:
    """Refuse a text of several experts in which some share a group, such as ``0:1,2``: between commas that may be two
    experts, or the keys of one.

    Raises:
        BadInputError: it has such a place; the message says how to write either.

    Examples:
        >>> from workbench.store.address import check_groups_given
        >>> check_groups_given("0:1, 0:2; 1:5", 512)
    """
    match = _SHARED_GROUP.search(text)
    if match is None:
        return
    group, ids = match[1], [int(part) for part in match[2].split(",")]
    each = ", ".join(f"{group}:{expert}" for expert in ids)
    keys = f", or {group}:{ids[0] * num_keys + ids[1]} for the one of keys {ids[0]} and {ids[1]}"
    either = keys if len(ids) == 2 and max(ids) < num_keys else ""
    raise BadInputError(f"{match[0]!r} leaves out groups; write {each} for {len(ids)} experts{either}.")


def shared_key(experts: NDArray[np.int64], expert: int, num_keys: int) -> NDArray[np.object_]:
    """Return which key each of ``experts`` shares with ``expert``: ``row`` (set 1), ``column`` (set 2) or ``""``."""
    i, j = divmod(expert, num_keys)
    return np.select([experts // num_keys == i, experts % num_keys == j], ["row", "column"], "").astype(object)


def path_part(text: str) -> str:
    """``text`` as one part of a path, which browsers, proxies and servers leave as it is.

    Letters, digits, - _ . and what prints beyond ASCII are kept (the latter in per cent as usual); every other
    character, and the dots of a part that is all dots, are ~ and two digits per byte. With % in its place, servers
    would decode / and % early, browsers would follow ``..``, and a line break would match no route.

    Examples:
        >>> from workbench.store.address import path_part
        >>> path_part("c++"), path_part("..")
        ('c~2B~2B', '~2E~2E')
    """
    dots = not text.strip(".")
    return "".join(quote(c) if _kept(c) and not (dots and c == ".") else _tilde(c) for c in text)


def _kept(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in "-_."
    return character.isprintable()


def _tilde(character: str) -> str:
    return "".join(f"~{byte:02X}" for byte in character.encode())


def read_path_part(part: str) -> str:
    """The text of ``path_part``; a part that is encoded with % alone is read as well."""
    return _TILDES.sub(lambda found: bytes.fromhex(found[0].replace("~", "")).decode(errors="replace"), unquote(part))
