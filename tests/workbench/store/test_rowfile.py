"""Row groups that were read last, and whole files, are held up to a number of bytes, and what is read is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.store.rowfile import GroupCache, RowFile

ROWS, GROUP = 1000, 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "rows.parquet"
    table = pa.table({"key": np.arange(ROWS) // 5, "value": np.arange(ROWS) * 2.0})
    pq.write_table(table, made, row_group_size=GROUP)
    return made


def read(file: RowFile, rows: list[int], columns: list[str] | None = None) -> pa.Table:
    table, at = file.rows(np.array(rows, np.int64), columns)
    return table.take(pa.array(at))


def test_rows_are_the_same_with_and_without_a_cache(path: Path) -> None:
    plain, cached = RowFile(path), RowFile(path, GroupCache(10_000))
    for rows in ([3, 999, 14, 14], [15], list(range(0, ROWS, 7)), [3, 15, 999]):
        assert read(cached, rows).equals(read(plain, rows))
        assert read(cached, rows, ["value"]).equals(read(plain, rows, ["value"]))
        assert cached.equal("key", rows[0] // 5, ["value"]).equals(plain.equal("key", rows[0] // 5, ["value"]))


def test_a_row_group_is_read_once_and_only_the_columns_that_are_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = RowFile(path, GroupCache(10_000)), []
    reading = file.read
    monkeypatch.setattr(
        file, "read", lambda groups, columns: asked.append((groups.tolist(), columns)) or reading(groups, columns)
    )
    for columns in (["key"], ["key"], ["key", "value"], None):
        read(file, [12, 34], columns)
    assert asked == [([1], ["key"]), ([3], ["key"]), ([1], ["value"]), ([3], ["value"])]


def test_a_cache_holds_no_more_than_its_bytes(path: Path) -> None:
    cache = GroupCache(500)
    files = [RowFile(path, cache), RowFile(path, cache)]
    for row in range(0, ROWS, GROUP):
        for file in files:
            read(file, [row])
    held = sum(column.nbytes for column, _ in cache._columns.values())
    assert 0 < held == cache._held <= 500


def test_a_file_that_is_held_reads_the_same_and_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, held = RowFile(path), RowFile(path)
    size = held.hold(1_000_000)
    assert size == plain.read().nbytes == held.hold(0)
    monkeypatch.setattr(held, "read", None)  # calling it fails
    for rows in ([3, 999, 14, 14], [15], list(range(0, ROWS, 7))):
        assert read(held, rows).equals(read(plain, rows))
        assert read(held, rows, ["value"]).equals(read(plain, rows, ["value"]))
        assert held.equal("key", rows[0] // 5, ["value"]).equals(plain.equal("key", rows[0] // 5, ["value"]))


def test_rows_of_a_value_in_two_row_groups_are_found_in_a_file_that_is_held(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": np.arange(100) // 8, "value": np.arange(100)}), tmp_path / "t", row_group_size=10)
    held = RowFile(tmp_path / "t")
    held.hold(1_000_000)
    for key in range(13):
        found = held.equal("key", key, ["value"])["value"].to_pylist()
        assert found == list(range(8 * key, min(8 * key + 8, 100)))


def test_a_file_larger_than_the_bytes_left_is_not_held_though_it_is_small_on_disk(tmp_path: Path) -> None:
    pq.write_table(pa.table({"value": np.zeros(ROWS)}), tmp_path / "t")
    file = RowFile(tmp_path / "t")
    size = file.read().nbytes
    assert (tmp_path / "t").stat().st_size < size
    assert file.hold(size - 1) == 0
    assert file.hold(size) == size
