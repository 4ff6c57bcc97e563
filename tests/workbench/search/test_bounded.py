"""Searches that look at few experts find what counting all of them finds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import Run, open_run
from workbench.analysis.token_keys import count_token_keys, most_active
from workbench.errors import UnsupportedError
from workbench.search import bounded, experts_at, experts_firing_on, firing, occurrences


@pytest.fixture(scope="module")
def runs(sound_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A run of two parts without counts of its keys, and the same with them."""
    path = tmp_path_factory.mktemp("counted") / "run"
    shutil.copytree(sound_run, path)
    counted = open_run(path)
    for group in counted.groups:
        count_token_keys(counted, group)
    return open_run(sound_run), counted


def _rows(run: Run, chosen: str) -> np.ndarray:
    rng = np.random.default_rng(2)
    return {
        "one token id": np.flatnonzero(run.token_column == run.token_column[5]),
        "several token ids": np.flatnonzero(np.isin(run.token_column, np.unique(run.token_column)[::7])),
        "rows of a text of several tokens": np.sort(rng.choice(run.tokens_total, 60, replace=False)),
        "rows of the second part": np.arange(200, 240),
        "all": np.arange(run.tokens_total),
    }[chosen]


@pytest.mark.parametrize(("limit", "at_once"), [(1, 1), (5, 3), (50, 64), (100_000, 64)])
@pytest.mark.parametrize(
    "chosen",
    ["one token id", "several token ids", "rows of a text of several tokens", "rows of the second part", "all"],
)
def test_the_best_experts_are_those_of_a_count_of_all(
    runs: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch, chosen: str, limit: int, at_once: int
) -> None:
    plain, counted = runs
    rows = _rows(plain, chosen)
    monkeypatch.setattr(firing, "READ_DIRECTLY", 0)
    monkeypatch.setattr(bounded, "AT_ONCE", at_once)
    for groups in (plain.groups, [1]):
        expected = experts_at(plain, rows, groups, limit)
        pd.testing.assert_frame_equal(experts_at(counted, rows, groups, limit), expected, check_exact=True)


def test_few_experts_are_looked_at(runs: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs[1]
    monkeypatch.setattr(bounded, "AT_ONCE", 4)
    rows = _rows(run, "one token id")
    looked_at = bounded.bounded_experts(run, rows, run.groups, 1)
    active = len(run.routing(rows, 0).pairs()[1].unique()) + len(run.routing(rows, 1).pairs()[1].unique())
    assert len(looked_at) < active / 2


def test_where_bounds_say_too_little_all_experts_are_counted(
    runs: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, counted = runs
    rows = _rows(plain, "all")
    monkeypatch.setattr(firing, "READ_DIRECTLY", 0)
    monkeypatch.setattr(bounded, "GIVE_UP", 0)
    assert bounded.bounded_experts(counted, rows, counted.groups, 5) is None
    expected = experts_at(plain, rows, plain.groups, 5)
    pd.testing.assert_frame_equal(experts_at(counted, rows, counted.groups, 5), expected, check_exact=True)


def test_an_analysed_run_is_searched_from_its_index(run_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(run_path)
    expected = experts_firing_on(run, "e")
    monkeypatch.setattr(firing, "READ_DIRECTLY", 0)
    assert experts_firing_on(run, "zebra").empty
    monkeypatch.setattr(firing, "_all_experts", None)
    assert len(occurrences(run, "e"))
    pd.testing.assert_frame_equal(experts_firing_on(run, "e"), expected, check_exact=True)


def test_counts_of_keys_are_those_of_the_routing(runs: tuple[Run, Run]) -> None:
    run = runs[1]
    ids = np.unique(run.token_column)[3:9:2]
    rows = np.flatnonzero(np.isin(run.token_column, ids))
    for group in run.groups:
        counts = np.zeros((2, run.num_keys), np.int64)
        for number, side in enumerate(run.sides(rows, group)):
            for row in range(len(side)):
                counts[number, np.unique(side[row : row + 1].keys % run.num_keys)] += 1
        np.testing.assert_array_equal(most_active(run, group, ids), counts)
        assert not most_active(run, group, np.array([127, 1])).any() or {127, 1} & set(run.token_column.tolist())


def test_counts_of_another_run_are_refused(runs: tuple[Run, Run], tmp_path: Path) -> None:
    shutil.copytree(runs[1].path, tmp_path / "run")
    run = open_run(tmp_path / "run")
    run.manifest["corpus"]["hash"] = "another"
    with pytest.raises(UnsupportedError, match="another run"):
        most_active(run, 0, np.array([3]))
