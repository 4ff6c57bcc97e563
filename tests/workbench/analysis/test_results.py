"""What a run keeps of its analyses is read back, upgraded, or refused by name; never half, never another run's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd
import pytest

from workbench import Run, open_run
from workbench.analysis.results import (
    Result,
    read_result,
    read_table,
    result_path,
    write_result,
    write_table,
)
from workbench.errors import BadInputError, DamagedError, NotAnalysedError, UnsupportedError


@dataclass(frozen=True)
class Heights(Result):
    """A result of two versions: the first called ``mean`` ``average``."""

    kind: ClassVar[str] = "heights"
    version: ClassVar[int] = 2
    command: ClassVar[str] = "monet heights"
    tables: ClassVar[tuple[str, ...]] = ("rows",)

    mean: float
    rows: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean}

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        return cls(stored["mean"], tables["rows"])

    @classmethod
    def upgrade(cls, stored: dict[str, Any], version: int) -> dict[str, Any]:
        return {"mean": stored["average"]}


HEIGHTS = Heights(1.5, pd.DataFrame({"height": [1.0, 2.0]}))


@pytest.fixture
def run(bare_run_path: Path, tmp_path: Path) -> Run:
    """A copy of a run without results."""
    shutil.copytree(bare_run_path, tmp_path / "run")
    return open_run(tmp_path / "run")


def stored(run: Run, name: str | None = None) -> Heights:
    """The result that is there."""
    found = read_result(run, Heights, name)
    assert found is not None
    return found


def edit(run: Run, change: Any) -> None:
    """Changes the stored document in place."""
    path = result_path(run, "heights.json")
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def test_result_is_read_back_as_it_was_written(run: Run) -> None:
    assert read_result(run, Heights) is None
    write_result(run, HEIGHTS)
    found = stored(run)
    assert found.mean == 1.5
    pd.testing.assert_frame_equal(found.rows, HEIGHTS.rows)


def test_missing_table_of_a_named_result_names_its_command(run: Run) -> None:
    with pytest.raises(NotAnalysedError, match=r"run `monet heights .*run --name tall`"):
        read_table(run, Heights, "heights-rows.parquet", "tall")


def test_two_settings_are_kept_side_by_side(run: Run) -> None:
    write_result(run, HEIGHTS)
    write_result(run, Heights(9.0, HEIGHTS.rows), name="tall")
    assert (stored(run).mean, stored(run, "tall").mean) == (1.5, 9.0)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 65, "ü"])
def test_name_that_is_no_folder_is_refused(run: Run, name: str) -> None:
    with pytest.raises(BadInputError, match="cannot be named"):
        write_result(run, HEIGHTS, name=name)


def test_older_result_is_upgraded(run: Run) -> None:
    write_result(run, HEIGHTS)
    edit(run, lambda stored: stored.update(average=stored.pop("mean"), result=stored["result"] | {"version": 1}))
    assert stored(run).mean == 1.5
    edit(run, lambda stored: stored.pop("result"))  # as results were before they had a header
    assert stored(run).mean == 1.5


def test_result_that_cannot_be_upgraded_names_its_command(run: Run) -> None:
    write_result(run, HEIGHTS)
    edit(run, lambda stored: (stored.pop("result"), stored.pop("mean")))
    with pytest.raises(UnsupportedError, match=r"lacks 'average'.*run `monet heights .*` again"):
        read_result(run, Heights)


def test_newer_result_is_refused(run: Run) -> None:
    write_result(run, HEIGHTS)
    edit(run, lambda stored: stored["result"].update(version=3))
    with pytest.raises(UnsupportedError, match=r"version 3 .* reads up to 2; update the workbench"):
        read_result(run, Heights)


def test_result_of_another_run_is_refused(run: Run) -> None:
    write_result(run, HEIGHTS)
    edit(run, lambda stored: stored["result"].update(source="0" * 16))
    with pytest.raises(UnsupportedError, match="computed from another run"):
        read_result(run, Heights)
    write_result(run, HEIGHTS)
    run.manifest["settings"]["context"] += 1  # as though its tables had been copied here
    with pytest.raises(UnsupportedError, match="computed from another run"):
        read_table(run, Heights, "heights-rows.parquet")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"result": 7}', '{"result": {"kind": "mask", "version": 1}}'])
def test_damaged_result_is_refused(run: Run, content: str) -> None:
    write_result(run, HEIGHTS)
    result_path(run, "heights.json").write_text(content)
    with pytest.raises(DamagedError, match=r"run `monet heights .*` again"):
        read_result(run, Heights)


def test_damaged_table_of_a_result_is_refused(run: Run) -> None:
    write_result(run, HEIGHTS)
    path = result_path(run, "heights-rows.parquet")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamagedError, match=r"heights-rows.parquet is damaged"):
        read_result(run, Heights)
    path.unlink()
    with pytest.raises(NotAnalysedError, match=r"no heights-rows.parquet"):
        read_result(run, Heights)


def test_numbers_that_do_not_exist_are_null(run: Run) -> None:
    write_result(run, Heights(float("nan"), HEIGHTS.rows))
    text = result_path(run, "heights.json").read_text()
    assert '"mean": null' in text
    assert "NaN" not in text


def test_table_keeps_its_named_index_as_a_column(run: Run) -> None:
    write_table(run, Heights, "heights-group-0.parquet", pd.DataFrame({"x": [1]}, pd.Index([7], name="expert")))
    assert read_table(run, Heights, "heights-group-0.parquet").to_dict("list") == {"expert": [7], "x": [1]}


def test_reading_results_imports_no_torch() -> None:
    code = "import sys, workbench.analysis.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
