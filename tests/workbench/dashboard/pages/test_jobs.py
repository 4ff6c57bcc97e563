"""The page Jobs: what ran and what can be run; and which pages the menu has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench import open_run
from workbench.dashboard.application import create_app
from workbench.dashboard.context import Context
from workbench.dashboard.links import jobs_link
from workbench.jobs import Job, State

Page = Callable[[Context, str], str]


@pytest.fixture
def ctx(run_path: Path, tmp_path: Path) -> Context:
    """The analysed run with two jobs that ended."""
    shutil.copytree(run_path, tmp_path / "run")
    ctx = Context(open_run(tmp_path / "run"))
    ctx.jobs.path.mkdir()
    run = str(ctx.run.path)
    for job in (
        Job("0001", ("mask", run, "--label=lua", "--ratio=3"), State.done, 1.0, 2.0, 95.0, 0),
        Job("0002", ("analyze", run), State.failed, 1.0, 2.0, 3.0, 2),
    ):
        (ctx.jobs.path / f"{job.id}.json").write_text(job.text())
    (ctx.jobs.path / "0002.log").write_text("\x1b[31mbad <b>input</b>\n")
    return ctx


def test_what_ran_is_listed_with_its_result(ctx: Context, page: Page) -> None:
    shown = page(ctx, "/jobs")
    assert "--label=lua --ratio=3" in shown
    assert "1 min 33 s" in shown
    assert "/mask?without=lua&ratio=3" in shown
    assert shown.index("'0002'") < shown.index("'0001'")
    assert "Start a job" in shown
    assert "Correlations" not in shown  # of a corpus without scores


def test_the_output_of_a_job_is_text(ctx: Context, page: Page) -> None:
    shown = page(ctx, jobs_link("0002"))
    assert "[31mbad <b>input</b>" in shown
    assert "\\x1b" not in shown
    assert "exit code 2" in shown
    assert "there is no job 0007" in page(ctx, jobs_link("0007")).lower()


def test_the_menu_has_pages_that_have_something(ctx: Context) -> None:
    layout = str(create_app(ctx.run).layout().to_plotly_json())
    assert "'/jobs'" in layout
    assert "'/scores'" not in layout
