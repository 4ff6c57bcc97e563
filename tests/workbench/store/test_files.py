"""A file is the old one or the new one, never half of it."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.store.files import replacing, sha256, write_json, write_parquet


def test_written_files_read_back(tmp_path) -> None:
    write_json(tmp_path / "deep" / "value.json", {"ключ": [1.5, None]})
    assert json.loads((tmp_path / "deep" / "value.json").read_text(encoding="utf-8")) == {"ключ": [1.5, None]}
    table = pa.table({"a": [1, 2, 3]})
    write_parquet(tmp_path / "table.parquet", table, row_group_size=2)
    assert pq.read_table(tmp_path / "table.parquet").equals(table)
    assert sha256(tmp_path / "table.parquet") == hashlib.sha256((tmp_path / "table.parquet").read_bytes()).hexdigest()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path, error) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def fail() -> None:
        with replacing(file) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
