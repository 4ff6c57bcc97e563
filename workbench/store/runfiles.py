"""Rows of a run's files by number, whichever part holds them, and checks of groups, labels and experts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import index
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import BadInputError, NotFoundError
from .group_layers import layers_of_groups, layers_text
from .remote import Place, Remote, in_ranges
from .routing import Side, from_arrow
from .rowfile import GroupCache, RowFile
from .schema import TOKENS, group_name, part_name, routing_name
from .transcoded import Transcoded

OPEN_FILES = 128  # each holds a few megabytes of metadata
CACHED_BYTES = 32_000_000  # of the row groups that were read last
HELD_BYTES = 256_000_000  # of whole files, see ``RunFiles.hold``

Rows = slice | Sequence[int] | NDArray[np.integer]


class RunFiles:
    """Reads rows of a run's files; ``Run`` describes its attributes."""

    def __init__(self, path: Place, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self.labels: list[str] = list(manifest["labels"])
        model, parts = manifest["model"], manifest["parts"]
        self.group_layers: list[int] = list(model["groups"])
        self.groups = list(range(len(self.group_layers)))
        self.num_keys, self.heads = int(model["keys"]), int(model["heads"])
        self.transcoded = Transcoded.of_entry(model)
        self._part_rows = np.array([part["rows"][0] for part in parts] + [parts[-1]["rows"][1]])
        self._parts = len(parts)
        self.tokens_total = int(self._part_rows[-1])
        self._opened = lru_cache(maxsize=OPEN_FILES)(self._open)
        self._held: dict[str, RowFile] = {}
        self._cache = GroupCache(CACHED_BYTES)

    def hold(self, most: int = HELD_BYTES) -> int:
        """Read the files that pages ask most into memory, as far as they fit: statistics of experts first, then tokens
        and routing. Processes forked from this one share them. Of a run on another machine, nothing is read.

        Args:
            most: bytes.

        Returns:
            The bytes that they take.

        Raises:
            DamagedError: a file cannot be read.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").hold(most=100)
            0
        """
        if isinstance(self.path, Remote):
            return 0
        parts = range(self._parts)
        names = [group_name("experts", group) for group in self.groups]
        names += [part_name("tokens", part) for part in parts]
        names += [routing_name(part, group) for group in self.groups for part in parts]
        taken = 0
        for name in names:
            file = self._file(name)
            if size := file.hold(most - taken):
                self._held[name] = file
                taken += size
        return taken

    def sides(self, tokens: Rows, group: int) -> tuple[Side, Side]:
        """Return the stored routing of token rows as flat arrays: one ``Side`` per key set, in their order.

        Args:
            tokens: a slice or a list of token rows.
            group: number of the group.

        Raises:
            NotFoundError: the run has no such row or group.

        Examples:
            >>> from workbench import open_run
            >>> side1, side2 = open_run("runs/demo").sides([0, 1], 0)
            >>> len(side1), len(side2)
            (2, 2)
        """
        rows, group = self._rows(tokens), self.check_group(group)
        pieces, order = [(Side.empty(), Side.empty())], [np.zeros(0, np.int64)]
        for part, local, where in self._by_part(rows):
            table, at = self._file(routing_name(part, group)).rows(local)
            pieces.append(from_arrow(table.take(pa.array(at))))  # a page needs a few rows of each row group
            order.append(where)
        back = np.argsort(np.concatenate(order), kind="stable")
        side1, side2 = (Side.cat(list(sides)) for sides in zip(*pieces, strict=True))
        return side1.take(back), side2.take(back)

    def check_group(self, group: int) -> int:
        """Return ``group`` if the run has it.

        Raises:
            NotFoundError: the run has no such group.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").check_group(1)
            1
        """
        if group not in self.groups:
            raise NotFoundError(f"{self.path} has no group {group}; it has {', '.join(map(str, self.groups))}.")
        return int(group)

    def layers_of(self, group: int) -> list[int]:
        """Return the layers of a group, which share its router, ascending.

        Raises:
            NotFoundError: the run has no such group.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").layers_of(1)
            [2, 3]
        """
        return layers_of_groups(self.manifest["model"])[self.check_group(group)]

    def layers_text(self, group: int) -> str:
        """Return the layers of a group as people read them.

        Raises:
            NotFoundError: the run has no such group.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").layers_text(1)
            'layers 2 to 3'
        """
        return layers_text(self.layers_of(group))

    def check_label(self, label: str) -> int:
        """Return the number of a label: its place in ``labels``.

        Raises:
            NotFoundError: the run has no such label.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").check_label("lua")
            3
        """
        if label not in self.labels:
            raise NotFoundError(f"{self.path} has no label {label!r}; it has {', '.join(self.labels)}.")
        return self.labels.index(label)

    def check_expert(self, expert: int) -> int:
        """Return ``expert`` as an int if it is a flat id, which every group of the run has.

        Raises:
            NotFoundError: it is outside 0 .. E * E - 1, or not a whole number.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").check_expert(1234)
            1234
        """
        try:
            known = 0 <= index(expert) < self.num_keys**2
        except TypeError:
            known = False
        if not known:
            raise NotFoundError(f"there is no expert {expert!r}; ids run from 0 to {self.num_keys**2 - 1}.")
        return index(expert)

    def _keys(self, expert: int) -> tuple[int, int]:
        return divmod(self.check_expert(expert), self.num_keys)

    def _rows(self, rows: Rows) -> NDArray[np.int64]:
        if isinstance(rows, slice):
            return np.arange(*rows.indices(self.tokens_total))
        numbers = np.asarray(rows)
        if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in "iu"):
            raise BadInputError(f"token rows are a slice or a list of whole numbers; got {rows!r}.")
        wanted = numbers.astype(np.int64)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= self.tokens_total):
            raise NotFoundError(f"the run has no such token rows; they run from 0 to {self.tokens_total - 1}.")
        return wanted

    def _file(self, name: str) -> RowFile:
        held = self._held.get(name)
        return self._opened(name) if held is None else held

    def _open(self, name: str) -> RowFile:
        return RowFile(in_ranges(self.path, name), self._cache)

    def _by_part(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Each part that holds some of the rows: its number, those rows within it, and their places in ``rows``."""
        parts = np.searchsorted(self._part_rows, rows, side="right") - 1
        for part in np.unique(parts):
            where = np.flatnonzero(parts == part)
            yield int(part), rows[where] - self._part_rows[part], where

    def _of_expert(self, folder: str, group: int, expert: int, columns: list[str]) -> pa.Table:
        self._keys(expert)
        return self._file(group_name(folder, self.check_group(group))).equal("expert", expert, columns)

    def _token_columns(self, rows: NDArray[np.int64], columns: list[str]) -> pa.Table:
        """Columns of token rows, in their order."""
        tables, order = [TOKENS.empty_table().select(columns)], [np.zeros(0, np.int64)]
        for part, local, where in self._by_part(rows):
            table, at = self._file(part_name("tokens", part)).rows(local, columns)
            tables.append(table.take(pa.array(at)))
            order.append(where)
        return pa.concat_tables(tables).take(pa.array(np.argsort(np.concatenate(order), kind="stable")))

    def _token_ids(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        ids = np.empty(len(rows), np.int32)
        for part, local, where in self._by_part(rows):
            table, at = self._file(part_name("tokens", part)).rows(local, ["token"])
            ids[where] = table["token"].to_numpy()[at]
        return ids


def check_count(name: str, value: int) -> int:
    """Return ``value``, the argument ``name``, if it is a whole number from 0; raise BadInputError otherwise."""
    if not isinstance(value, int | np.integer) or value < 0:
        raise BadInputError(f"{name} must be a whole number from 0, got {value!r}.")
    return int(value)
