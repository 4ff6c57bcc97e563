"""Counts and replication on the pages: confirmed experts first, and what is shown where nothing was tested."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workbench import open_run
from workbench.analysis import analyze_run, read_analysis_summary
from workbench.dashboard.application import draw
from workbench.dashboard.context import Context
from workbench.dashboard.pages import read_address
from workbench.dashboard.replicates import replicates_panel, share_text
from workbench.store.files import write_json


@pytest.fixture
def ctx(run_path: Path, tmp_path: Path) -> Context:
    """A run without an analysis, of three labels."""
    run = open_run(shutil.copytree(run_path, tmp_path / "run"))
    shutil.rmtree(run.path / "analysis")
    return Context(run)


def shown(ctx: Context, path: str) -> str:
    """Everything on a page, as text."""
    content = draw(ctx, read_address(path, "")).content
    return str(content)


def test_pages_show_confirmed_experts_and_what_replicates(ctx: Context) -> None:
    analyze_run(ctx.run, permutations=60, fdr=0.5, min_tokens=4)
    summary = ctx.summary()
    assert summary is not None
    assert summary.confirmed is not None
    assert summary.replication is not None
    front, label = shown(ctx, "/"), ctx.run.labels[0]
    confirmed = summary.confirmed[label].sum()
    assert f"'{confirmed:,}'" in front
    assert f"{summary.confirmed.loc[0, label]:,} / {summary.specialised.loc[0, label]:,}" in front
    assert "Replicates by activity" in front
    assert "not tested" not in front
    share = share_text(summary.replication, "confirmed", label=label)
    page = shown(ctx, f"/labels/{label}")
    assert f"'{confirmed:,}'" in page
    assert share in page


def test_the_front_page_says_of_which_documents_a_sample_is(ctx: Context) -> None:
    analyze_run(ctx.run, permutations=0)
    assert "a sample" not in shown(ctx, "/")
    summary = analyze_run(ctx.run, permutations=0, sample=4)
    assert f"Tests and replication are of a sample: {summary.drawn}." in shown(ctx, "/")


def test_pages_say_where_nothing_was_tested(ctx: Context) -> None:
    analyze_run(ctx.run, permutations=0)
    assert not ctx.tested
    for path in ("/", f"/labels/{ctx.run.labels[0]}"):
        assert "not tested" in shown(ctx, path)


def test_front_page_of_an_older_analysis_says_how_to_get_a_replication(ctx: Context) -> None:
    analyze_run(ctx.run, permutations=0)
    summary = read_analysis_summary(ctx.run)
    assert summary is not None
    stored = {name: value for name, value in summary.to_json().items() if name != "replication"}
    write_json(ctx.run.analysis_path("experts.json"), stored)
    assert ctx.replication() is None
    assert "No replication yet" in str(replicates_panel(ctx))
    assert "No replication yet" in shown(ctx, "/")
    ctx.run.analysis_path("experts.json").unlink()
    assert ctx.summary() is None
    assert "plain rule" in shown(ctx, "/")
