"""What is missing is said with its command and a button; a place shows its job and redraws the page when it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from workbench import open_run
from workbench.dashboard import running
from workbench.dashboard.application import create_app
from workbench.dashboard.context import Context
from workbench.jobs import Job, Jobs, Request, State
from workbench.progress import Report


@pytest.fixture
def ctx(bare_run_path: Path, tmp_path: Path) -> Context:
    """A copy of the bare run."""
    shutil.copytree(bare_run_path, tmp_path / "run")
    return Context(open_run(tmp_path / "run"))


def _keep(ctx: Context, state: State, kind: str = "analyze") -> Job:
    """A job in the folder, as a server left it."""
    ctx.jobs.path.mkdir(exist_ok=True)
    job = Job("0001", (kind, str(ctx.run.path)), state, 1.0, 2.0, None if state is State.running else 3.0, 2)
    (ctx.jobs.path / "0001.json").write_text(job.text())
    (ctx.jobs.path / "0001.log").write_text('it <b>broke</b>\n{"progress": {}}\n')
    return job


def test_what_is_missing_has_its_command_and_a_button(ctx: Context) -> None:
    shown = str(running.unanalysed(ctx).to_plotly_json())
    assert f"monet analyze {ctx.run.path}" in shown
    assert "Run it now" in shown


def test_a_run_of_one_label_is_not_sent_to_an_analysis_that_fails(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctx.run, "labels", ["only"])
    shown = str(running.unanalysed(ctx).to_plotly_json())
    assert "“only”" in shown
    assert "Run it now" not in shown


def test_a_missing_extra_is_named_in_place_of_the_button(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Run it now" in str(running.run_first(ctx, "No map yet", Request("map")).to_plotly_json())
    monkeypatch.setattr(running, "has_extra", lambda extra: False)
    shown = str(running.run_first(ctx, "No map yet", Request("map")).to_plotly_json())
    assert "pip install -c constraints.txt -e '.[map]'" in shown
    assert "Run it now" not in shown


def test_a_run_that_cannot_be_written_beside_has_no_button(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "possible", False)
    assert "Run it now" not in str(running.unanalysed(ctx).to_plotly_json())


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.failed, "it <b>broke</b>"),
        (State.cancelled, "was cancelled"),
        (State.done, "is done"),
        (State.running, "was lost"),  # nobody holds its lock
    ],
)
def test_a_place_says_how_the_last_job_ended(ctx: Context, state: State, words: str) -> None:
    _keep(ctx, state)
    shown = str([part.to_plotly_json() for part in running.place(ctx, Request("analyze"))])
    assert words in shown
    assert "Run it again" in shown
    other = str([part.to_plotly_json() for part in running.place(ctx, Request("structure"))])
    assert words not in other


def test_a_job_that_waits_or_runs_has_its_progress(ctx: Context) -> None:
    job = _keep(ctx, State.running)
    lock = ctx.jobs._lock(job.id)
    lock.acquire()
    report = Report("tests", 25, 100, "experts", 40.0)
    (ctx.jobs.path / "0001.log").write_text(report.line() + "\n")
    shown = str([part.to_plotly_json() for part in running.place(ctx, Request("analyze"))])
    assert "tests: 25 of 100 experts, about 40 seconds left" in shown
    assert "value=25.0" in shown
    assert "Cancel job 0001" in shown
    assert "Run it" not in shown
    compact = str([part.to_plotly_json() for part in running.place(ctx, Request("analyze"), compact=True)])
    assert "running …" in compact
    lock.release()


def _follow(ctx: Context, data: dict[str, Any], shown: str) -> dict[str, Any]:
    """What the callback of all places answers for one."""
    app = create_app(ctx.run)
    key = {"key": "k"}

    def ids(kind: str) -> dict[str, str]:
        return {"type": kind} | key

    outputs = [
        [{"id": ids(kind), "property": name}]
        for kind, name in (("job-progress", "children"), ("job-place", "children"), ("job-shown", "data"))
    ]
    output = next(name for name in app.callback_map if "job-shown" in name)
    body = {
        "output": output,
        "outputs": [*outputs, {"id": "jobs-tick", "property": "disabled"}, {"id": "refresh", "property": "data"}],
        "inputs": [
            {"id": "jobs-tick", "property": "n_intervals", "value": 1},
            {"id": "jobs-changed", "property": "data", "value": None},
            [{"id": ids("job-request"), "property": "data", "value": data}],
        ],
        "state": [
            [{"id": ids("job-request"), "property": "id", "value": ids("job-request")}],
            [{"id": ids("job-shown"), "property": "data", "value": shown}],
        ],
        "changedPropIds": ["jobs-tick.n_intervals"],
    }
    answer = app.server.test_client().post("/_dash-update-component", json=body)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text)["response"]


def test_the_page_is_drawn_anew_when_a_job_ends_and_not_before(ctx: Context) -> None:
    data = {"kind": "analyze", "options": {}, "compact": False, "drawn": ""}
    idle = _follow(ctx, data, "")
    assert idle["jobs-tick"] == {"disabled": True}
    assert "refresh" not in idle
    job = _keep(ctx, State.running)
    lock = ctx.jobs._lock(job.id)
    lock.acquire()
    busy = _follow(ctx, data, "")
    assert busy["jobs-tick"] == {"disabled": False}
    assert "refresh" not in busy
    assert "Cancel" in str(busy)
    again = _follow(ctx, data, "0001 running")
    assert "Cancel" not in str(again)  # the button stays as it is
    lock.release()
    _keep(ctx, State.done)
    over = _follow(ctx, data, "0001 running")
    assert over["refresh"] == {"data": "0001 done"}
    assert over["jobs-tick"] == {"disabled": True}
    assert "refresh" not in _follow(ctx, data | {"drawn": "0001 done"}, "0001 done")
