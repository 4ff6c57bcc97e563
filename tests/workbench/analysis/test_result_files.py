"""Stored correlations, purges, structures and maps: read without torch; old, foreign and damaged files are named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.analysis import (
    ExpertMap,
    Purge,
    ScoreSummary,
    Structure,
    read_map,
    read_map_summary,
    read_purge,
    read_score_summary,
    read_scores,
    read_structure,
)
from workbench.analysis.correlation.correlate_result import EXPERT_COLUMNS, GROUP_COLUMNS, STRONGEST_COLUMNS
from workbench.analysis.correlation.purge_result import OTHER_COLUMNS, TOXICITY_COLUMNS
from workbench.analysis.results import Result, group_file, read_result, result_path, write_result, write_table
from workbench.analysis.structure.structure_result import COMMITTEE_COLUMNS, LATTICE_COLUMNS
from workbench.errors import DamagedError, UnsupportedError, WorkbenchError
from workbench.store import Run


def row(columns: tuple[str, ...], value: float = 0.5) -> pd.DataFrame:
    """A table of one row."""
    return pd.DataFrame([dict.fromkeys(columns, value)])


RESULTS = [
    ScoreSummary("score", "mean", 9, 3, 0.05, 0, row(GROUP_COLUMNS), row(STRONGEST_COLUMNS)),
    Purge(
        "score", "token", None, 0, {"seed": 0}, 5, 4, {"loss": 2.0},
        pd.DataFrame([{"threshold": 0.1, "kind": "random", "removed": 3, "share": 0.1, "loss": 2.5}]), 3, 0,
        row(TOXICITY_COLUMNS), row(OTHER_COLUMNS),
    ),
    Structure(row(LATTICE_COLUMNS), row(COMMITTEE_COLUMNS), None, 0.01, 10, 0),
    ExpertMap("residual", {0: 40, 1: 31}, {0: 0.9, 1: 0.8}, 0),
]  # fmt: skip
READERS: list[Callable[[Run], Any]] = [read_score_summary, read_purge, read_structure, read_map_summary]
each_result = pytest.mark.parametrize(
    ("result", "read"), list(zip(RESULTS, READERS, strict=True)), ids=lambda value: getattr(value, "kind", "")
)


@each_result
def test_results_are_read_as_written_and_without_their_header(
    run: Run, result: Result, read: Callable[[Run], Any]
) -> None:
    assert read(run) is None
    write_result(run, result)
    assert read(run).to_json() == result.to_json()
    path = result_path(run, f"{result.kind}.json")
    stored = json.loads(path.read_text())
    del stored["result"]  # as files were before they had one
    path.write_text(json.dumps(stored))
    assert read(run).to_json() == result.to_json()


@each_result
@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", DamagedError),
        ('{"seed": 0, "gro', DamagedError),
        ("[]", DamagedError),
        ("3", DamagedError),
        ("{}", UnsupportedError),
        (
            '{"groups": [[]], "strongest": 3, "points": {}, "plain": 4, "lattice": "text", "view": null}',
            UnsupportedError,
        ),
    ],
)
def test_a_file_that_holds_no_result_gives_an_error_that_names_the_command(
    run: Run, result: Result, read: Callable[[Run], Any], content: str, error: type[WorkbenchError]
) -> None:
    path = result_path(run, f"{result.kind}.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(error, match=f"{result.command} .* again"):
        read(run)


@each_result
def test_every_value_of_a_stored_result_may_be_foreign(run: Run, result: Result, read: Callable[[Run], Any]) -> None:
    """Each entry in turn is replaced by something else: what is read is a result or one of our errors."""
    write_result(run, result)
    path = result_path(run, f"{result.kind}.json")
    stored = json.loads(path.read_text())
    for name in stored:
        for foreign in (None, 3, "text", [1], [[]], [{}], {"a": 1}):
            path.write_text(json.dumps(stored | {name: foreign}))
            with suppress(DamagedError, UnsupportedError):
                read(run)


@pytest.mark.parametrize(
    ("cls", "read", "columns"), [(ScoreSummary, read_scores, EXPERT_COLUMNS), (ExpertMap, read_map, ("x", "y"))]
)
def test_tables_of_groups_are_refused_where_they_are_cut_or_foreign(
    run: Run, cls: type[Result], read: Callable[[Run, int], pd.DataFrame], columns: tuple[str, ...]
) -> None:
    path = result_path(run, group_file(cls, 0))
    table = row(columns).assign(expert=3)
    write_table(run, cls, path.name, table)
    assert read(run, 0).index.tolist() == [3]
    table.to_parquet(path)  # as files were before they had a header
    assert list(read(run, 0)) == list(columns)
    table.drop(columns=[columns[-1]]).to_parquet(path)
    with pytest.raises(UnsupportedError, match=f"lacks the columns {columns[-1]}; run `{cls.command}"):
        read(run, 0)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedError, match=cls.command):
        read(run, 0)


def test_a_structure_without_a_null_is_valid_json(run: Run) -> None:
    """Without permutations there is no null: its mean does not exist, and is null in the file."""
    structure = Structure(row(LATTICE_COLUMNS).assign(null=np.nan), row(COMMITTEE_COLUMNS), None, 0.01, 0, 0)
    write_result(run, structure)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    stored = json.loads(result_path(run, "structure.json").read_text(), parse_constant=refuse)
    assert stored["lattice"][0]["null"] is None
    again = read_structure(run)
    assert again is not None
    assert again.lattice["null"].isna().all()
    assert again.lattice["null"].dtype == float


def test_results_of_two_settings_lie_side_by_side(run: Run) -> None:
    other = ExpertMap("encoder", {0: 35}, {0: 0.7}, 1)
    write_result(run, RESULTS[3])
    write_result(run, other, "by-encoder")
    assert read_map_summary(run) == RESULTS[3]
    assert read_map_summary(run, name="by-encoder") == other
    assert read_result(run, ExpertMap, "another") is None


def test_reading_results_imports_no_torch() -> None:
    code = (
        "import sys; from workbench.analysis import ("
        "read_scores, read_score_summary, read_purge, read_structure, read_map, read_map_summary); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_purge_of_version_1_is_read(run: Run) -> None:
    """It had no table by toxicity and none of other text."""
    result = RESULTS[1]
    write_result(run, result)
    path = result_path(run, "purge.json")
    stored = json.loads(path.read_text())
    del stored["by_toxicity"], stored["other_text"]
    stored["result"]["version"] = 1
    path.write_text(json.dumps(stored))
    found = read_purge(run)
    assert found is not None
    assert found.points.equals(result.points)  # type: ignore[attr-defined]
    assert found.by_toxicity.empty
    assert found.other_text.empty
