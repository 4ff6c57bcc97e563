"""Jobs run one at a time in processes of their own, can be cancelled, and are listed after the server has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench import Run
from workbench.errors import BadInputError, NotFoundError
from workbench.jobs import Job, Jobs, Request, State, queue

Ended = Callable[[Jobs, str], Job]
Until = Callable[[Callable[[], bool]], None]


def _asked(target: str) -> Request:
    return Request("attribute-corpus", {"target": target})


def _begun(run: Run) -> Path:
    return run.path / "analysis" / "begun"


def test_a_job_runs_and_is_listed_with_its_output(run: Run, ended: Ended) -> None:
    jobs = Jobs(run)
    job = ended(jobs, jobs.start(_asked("x")).id)
    assert (job.state, job.exit_code, job.kind) == (State.done, 0, "attribute-corpus")
    assert job.created <= (job.started or 0) <= (job.ended or 0)
    assert jobs.output(job.id) == ["this is x"]  # the last state of the line, and nothing of progress
    report = jobs.progress(job.id)
    assert report is not None
    assert (report.name, report.done, report.total, report.unit) == ("wait", 1, 4, "steps")
    assert Jobs(run).listed() == [job]  # as a server started later sees it
    assert Jobs(run).latest(_asked("x")) == job
    assert Jobs(run).latest(_asked("y")) is None


def test_a_job_that_fails_says_so_and_the_next_one_runs(run: Run, ended: Ended) -> None:
    jobs = Jobs(run)
    first, second = jobs.start(_asked("fail")), jobs.start(_asked("x"))
    assert ended(jobs, second.id).state is State.done
    assert (jobs.get(first.id).state, jobs.get(first.id).exit_code) == (State.failed, 3)
    assert [job.id for job in jobs.listed()] == [second.id, first.id]


def test_cancelling_leaves_nothing_half_written(run: Run, ended: Ended, until: Until) -> None:
    jobs = Jobs(run)
    running, waiting = jobs.start(_asked("wait")), jobs.start(_asked("x"))
    until(_begun(run).exists)
    assert (run.path / "analysis" / "half.json.tmp").exists()
    assert jobs.get(waiting.id).state is State.queued
    jobs.cancel(waiting.id)
    assert jobs.get(waiting.id).state is State.cancelled  # before its turn
    assert jobs.get(running.id).state is State.running
    Jobs(run).cancel(running.id)  # from another server
    assert ended(jobs, running.id).state is State.cancelled
    assert ended(jobs, waiting.id).state is State.cancelled
    assert jobs.get(waiting.id).started is None
    assert {path.name for path in (run.path / "analysis").iterdir()} == {"begun"}
    with pytest.raises(BadInputError, match="has ended"):
        jobs.cancel(running.id)


def test_two_servers_take_turns(run: Run, ended: Ended, until: Until) -> None:
    one, other = Jobs(run), Jobs(run)
    first = one.start(_asked("wait-for"))
    until(_begun(run).exists)
    second = other.start(_asked("x"))
    assert other.start(_asked("wait-for")) == one.get(first.id)  # one like it runs
    assert (one.get(first.id).state, one.get(second.id).state) == (State.running, State.queued)
    (run.path / "analysis" / "go").touch()
    done = ended(one, second.id)
    assert done.state is State.done
    assert (done.started or 0) >= (one.get(first.id).ended or 0)


def test_only_so_many_wait(run: Run, ended: Ended, until: Until) -> None:
    jobs = Jobs(run)
    running = jobs.start(_asked("wait"))
    until(_begun(run).exists)
    waiting = [jobs.start(_asked(f"x{number}")) for number in range(queue.WAITING)]
    with pytest.raises(BadInputError, match="8 jobs wait already"):
        jobs.start(_asked("one too many"))
    for job in [*waiting, running]:
        jobs.cancel(job.id)
    ended(jobs, waiting[-1].id)


def test_old_jobs_are_removed(run: Run, ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "KEPT", 2)
    jobs = Jobs(run)
    for number in range(3):
        ended(jobs, jobs.start(_asked(f"x{number}")).id)
    assert [job.id for job in jobs.listed()] == ["0003", "0002"]
    assert not list(jobs.path.glob("0001*"))


SERVER = """
import sys, time
from workbench import open_run
from workbench.jobs import Jobs, Request, queue
queue.MODULE = "short_program"
Jobs(open_run(sys.argv[1])).start(Request("attribute-corpus", {"target": "wait"}))
time.sleep(60)
"""


def test_a_job_ends_with_its_server_however_that_ends(run: Run, until: Until) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(run.path)])
    try:
        until(_begun(run).exists)
        jobs = Jobs(run)
        (job,) = jobs.listed()
        assert job.state is State.running
    finally:
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    assert jobs.get(job.id).state is State.lost
    until(lambda: not (run.path / "analysis" / "half.json.tmp").exists())  # the job was ended, in good order


def test_what_is_no_job_is_passed_over_or_refused(run: Run) -> None:
    jobs = Jobs(run)
    assert jobs.listed() == []
    jobs.path.mkdir()
    for name in ("0001.json", "note.json"):
        (jobs.path / name).write_text("{}")
    assert jobs.listed() == []
    for number in ("0007", "../run/manifest", ""):
        with pytest.raises(NotFoundError):
            jobs.get(number)
