"""Experts as people write them: `group:id` or `group:i,j`."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError, NotFoundError


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


def shared_key(experts: NDArray[np.int64], expert: int, num_keys: int) -> NDArray[np.object_]:
    """Return which key each of ``experts`` shares with ``expert``: ``row`` (set 1), ``column`` (set 2) or ``""``."""
    i, j = divmod(expert, num_keys)
    return np.select([experts // num_keys == i, experts % num_keys == j], ["row", "column"], "").astype(object)
