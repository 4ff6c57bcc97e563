"""The page Jobs: what ran and what can be run; and which pages the menu has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from workbench import open_run
from workbench.analysis import CorpusAttribution, TokenWriters
from workbench.analysis.attribution.corpus_result import keep_writers
from workbench.analysis.attribution.prompt import read_token
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


def test_a_job_that_attributed_a_token_leads_to_its_experts(ctx: Context, page: Page) -> None:
    words = ("attribute-corpus", str(ctx.run.path), "--target=x", "--label=lua")
    job = Job("0003", words, State.done, 1.0, 2.0, 3.0, 0)
    (ctx.jobs.path / "0003.json").write_text(job.text())
    assert "Experts that write" not in page(ctx, jobs_link("0003"))  # of before results were kept
    target = read_token(ctx.tokenizer(), "x")
    layers = [ctx.run.layers_of(group)[-1] for group in ctx.run.groups]
    experts = [int(ctx.ranking(group)[0]) for group in ctx.run.groups]
    table = pd.DataFrame({"layer": layers, "expert": experts, "contribution": [0.25, -0.5], "active": [2, 3]})
    rest = pd.DataFrame({"component": ["embed"], "contribution": [1.0]})
    keep_writers(ctx.run, TokenWriters.of(CorpusAttribution(target, 0.75, table, rest, "lua", 7), ctx.run, "x"))
    shown = page(ctx, jobs_link("0003"))
    first, second = (f"/expert/{group}/{expert}" for group, expert in zip(ctx.run.groups, experts, strict=True))
    assert 0 < shown.index(f"'{second}'") < shown.index(f"'{first}'")  # the larger contribution first
    assert "-0.5000" in shown
    assert "7 places in documents of lua" in shown
    assert "Experts that write" not in page(ctx, jobs_link("0001"))


def test_the_menu_has_pages_that_have_something(ctx: Context) -> None:
    layout = str(create_app(ctx.run).layout().to_plotly_json())
    assert "'/jobs'" in layout
    assert "'/scores'" not in layout
