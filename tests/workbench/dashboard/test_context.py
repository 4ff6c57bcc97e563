"""What the pages read keeps step with the run's files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from workbench import open_run
from workbench.analysis import analyze_run
from workbench.dashboard.context import Context
from workbench.explain import logit_view


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


def test_analysis_run_meanwhile_is_seen(bare_run_path: Path, tmp_path: Path) -> None:
    shutil.copytree(bare_run_path, tmp_path / "run")
    ctx = Context(open_run(tmp_path / "run"))
    assert not ctx.analysed
    assert ctx.specialised(0)["experts"].sum() == 0
    analyze_run(ctx.run, min_tokens=1)
    assert ctx.analysed
    assert ctx.specialised(0)["experts"].sum() > 0


def test_what_was_derived_from_an_older_analysis_is_not_seen(bare_run_path: Path, tmp_path: Path) -> None:
    ctx = Context(open_run(shutil.copytree(bare_run_path, tmp_path / "run")))
    for most in (1, 10**9):
        analyze_run(ctx.run, min_tokens=most, permutations=0)
        summary = ctx.summary()
        assert summary is not None
        assert summary.settings.min_tokens == ctx.min_tokens == most
        found = ctx.specialised(0)["experts"].sum()
        assert (found > 0) == (most == 1)
        labelled = (ctx.codes(0) > 0) & (ctx.codes(0) <= len(ctx.run.labels))
        assert labelled.sum() == found
        assert ctx.of_group(0, "sum", lambda: int(ctx.codes(0).sum())) == ctx.codes(0).sum()


def test_map_gives_every_expert_its_label(ctx: Context) -> None:
    codes, table = ctx.codes(0), ctx.experts(0)
    names = ["", *ctx.run.labels, "too little data"]
    for expert, row in table.iterrows():
        name = "too little data" if row["too_little"] else row["specialised"]
        assert names[codes[divmod(expert, ctx.run.num_keys)]] == name
    assert (codes >= 0).sum() == len(table)


def test_confirmed_experts_are_counted_among_the_specialised(ctx: Context) -> None:
    table, counts = ctx.experts(0), ctx.specialised(0)
    assert counts.index.tolist() == ctx.run.labels
    for label, row in counts.iterrows():
        chosen = table[table["specialised"] == label]
        assert (row["experts"], row["confirmed"]) == (len(chosen), chosen["confirmed"].sum())


def test_context_computes_a_logit_view_once(run_path: Path, count_passes: Callable[[], int]) -> None:
    ctx = Context(open_run(run_path))
    expert = int(ctx.run.experts(0)["mass"].idxmax())
    view = ctx.logit_view(0, expert, 5)
    before = count_passes()
    pd.testing.assert_frame_equal(ctx.logit_view(0, expert, 5), view)
    assert count_passes() == before
    pd.testing.assert_frame_equal(view, logit_view(ctx.run, ctx.model(), 0, expert, 5))
