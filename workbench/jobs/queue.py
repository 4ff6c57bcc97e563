"""The jobs of a run: one runs at a time, a few wait, and what ran is listed in a folder beside the run."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

from ..errors import BadInputError, DamagedError, NotFoundError, UnsupportedError
from ..progress import LINES, MODE, Report
from ..store.files import replacing
from .job import GRACE, Job, State

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from ..store import Run
    from .kinds import Request

WAITING = 8  # jobs that may wait
KEPT = 100  # jobs listed; older ones are removed
BETWEEN = 0.2  # seconds from one look at a process to the next
TAIL = 65_536  # bytes of output that are looked at
MODULE = "workbench.cli"  # what runs a job
_NUMBER = re.compile(r"\d{4,9}")
_log = logging.getLogger(__name__)


class Jobs:
    """The jobs of a run, in the folder ``RUN.jobs``, which is made when the first is started.

    Each is a `monet` command in a process of its own: it goes on while pages come and go, and ends when this process
    does. Several servers of a run share the folder, and take turns.

    Args:
        run: the opened run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.jobs import Jobs
        >>> Jobs(open_run("runs/demo")).path.name
        'demo.jobs'
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        place = run.path.resolve() if isinstance(run.path, Path) else None
        self.path = place.with_name(f"{place.name}.jobs") if place else Path(f"{run.path}.jobs")
        self._local = place is not None
        self._mine: deque[tuple[Job, BaseFileLock]] = deque()
        self._guard = Lock()
        self._worker: Thread | None = None

    @property
    def possible(self) -> bool:
        """Whether jobs can be started: of a run in a folder of this machine, beside which one can be written."""
        return self._local and os.access(self.path if self.path.is_dir() else self.path.parent, os.W_OK)

    def start(self, request: Request) -> Job:
        """Put a job at the end of the queue; if one with the same arguments waits or runs already, it is returned.

        Raises:
            BadInputError: the request makes no sense, or too many jobs wait.
            NotFoundError: it names what the run does not have.
            UnsupportedError: nothing can be written beside the run.
        """
        arguments = request.arguments(self.run)
        if not self.possible:
            raise UnsupportedError(f"{self.path} cannot be written, so no job of this run can be started from a page.")
        self.path.mkdir(exist_ok=True)
        with self._held("list", timeout=10):
            known = self.listed()
            same = next((job for job in known if job.active and job.arguments == arguments), None)
            if same is not None:
                return same
            if sum(job.state is State.queued for job in known) >= WAITING:
                raise BadInputError(f"{WAITING} jobs wait already; cancel one on the page Jobs, or wait.")
            number = max((int(job.id) for job in known), default=0) + 1
            job = Job(f"{number:04d}", arguments, State.queued, time.time())
            self._remove(known[KEPT - 1 :])
            alive = self._lock(job.id)
            alive.acquire()
            self._write(job)
        with self._guard:
            self._mine.append((job, alive))
            if self._worker is None:
                self._worker = Thread(target=self._work, name="jobs", daemon=True)
                self._worker.start()
        return job

    def listed(self) -> list[Job]:
        """All jobs, the latest first. A file that holds no job is passed over."""
        jobs = []
        for path in sorted(self.path.glob("*.json"), key=lambda path: (len(path.stem), path.stem), reverse=True):
            if _NUMBER.fullmatch(path.stem):
                with suppress(DamagedError, OSError):
                    jobs.append(self._checked(Job.read(path)))
        return jobs

    def get(self, number: str) -> Job:
        """A job by its number.

        Raises:
            NotFoundError: there is none.
        """
        path = self._file(number, "json")
        if not path.is_file():
            raise NotFoundError(f"there is no job {number} of {self.run.path}.")
        return self._checked(Job.read(path))

    def latest(self, request: Request) -> Job | None:
        """The last job with the arguments of a request; None where there is none."""
        arguments = request.arguments(self.run)
        return next((job for job in self.listed() if job.arguments == arguments), None)

    def cancel(self, number: str) -> None:
        """Ask a job to end; one that waits is cancelled at once, one that runs within seconds.

        Raises:
            NotFoundError: there is no such job.
            BadInputError: it has ended.
        """
        job = self.get(number)
        if not job.active:
            raise BadInputError(f"job {number} has ended ({job.state}); there is nothing to cancel.")
        self._file(number, "cancel").touch()

    def output(self, number: str, lines: int = 200) -> list[str]:
        """The last lines that a job printed, without those about its progress; of one drawn over, the last state."""
        told = (line.rsplit("\r", 1)[-1].rstrip() for line in self._tail(number))
        return [line for line in told if line and not line.startswith('{"progress":')][-lines:]

    def progress(self, number: str) -> Report | None:
        """How far a job is; None where it has not said."""
        reports = (Report.read(line) for line in reversed(self._tail(number)))
        return next((report for report in reports if report is not None), None)

    def _tail(self, number: str) -> list[str]:
        path = self._file(number, "log")
        if not path.is_file():
            return []
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - TAIL))
            lines = log.read().decode(errors="replace").split("\n")
        return lines[1:] if size > TAIL else lines

    def _file(self, number: str, ending: str) -> Path:
        if not _NUMBER.fullmatch(number):
            raise NotFoundError(f"{number!r:.80} is no number of a job.")
        return self.path / f"{number}.{ending}"

    def _write(self, job: Job) -> None:
        with replacing(self._file(job.id, "json")) as temporary:
            temporary.write_text(job.text(), encoding="utf-8")

    def _remove(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not job.active:
                for ending in ("json", "log", "cancel", "lock"):
                    self._file(job.id, ending).unlink(missing_ok=True)

    def _lock(self, name: str) -> BaseFileLock:
        from filelock import FileLock

        return FileLock(self.path / f"{name}.lock", timeout=0, thread_local=False)

    @contextmanager
    def _held(self, name: str, timeout: float) -> Iterator[None]:
        from filelock import Timeout

        lock = self._lock(name)
        try:
            lock.acquire(timeout=timeout)
        except (Timeout, OSError) as error:
            raise UnsupportedError(f"{self.path} cannot be written just now ({error}); try again.") from error
        try:
            yield
        finally:
            lock.release()

    def _checked(self, job: Job) -> Job:
        """The job as it stands: lost where it should be running and nobody holds its lock.

        One that waits and has been asked to end is cancelled; its server finds that when its turn comes.
        """
        from filelock import Timeout

        if not job.active:
            return job
        if job.state is State.queued and self._file(job.id, "cancel").exists():
            return job.now(State.cancelled)
        lock = self._lock(job.id)
        try:
            lock.acquire()
        except (Timeout, OSError):
            return job
        try:
            job = Job.read(self._file(job.id, "json"))  # it may have ended since
        finally:
            lock.release()
        return job.now(State.lost) if job.active else job

    def _work(self) -> None:
        """The thread that runs this server's jobs, one after another, while there are any."""
        while True:
            with self._guard:
                if not self._mine:
                    self._worker = None
                    return
                job, alive = self._mine.popleft()
            try:
                self._run(job)
            except Exception:  # the next job has its turn all the same; this one is lost
                _log.exception("job %s could not be run", job.id)
            finally:
                alive.release()

    def _run(self, job: Job) -> None:
        """Wait for the turn of a job, run it, and write down how it ended."""
        from filelock import Timeout

        asked, turn = self._file(job.id, "cancel"), self._lock("turn")
        while not asked.exists():
            try:
                turn.acquire()
            except Timeout:
                time.sleep(BETWEEN)
                continue
            try:
                job = job.now(State.running, started=time.time())
                self._write(job)
                code = self._execute(job, asked)
            finally:
                turn.release()
            state = State.done if code == 0 else State.cancelled if asked.exists() else State.failed
            self._write(job.now(state, ended=time.time(), exit_code=code))
            return
        self._write(job.now(State.cancelled, ended=time.time()))

    def _execute(self, job: Job, asked: Path) -> int:
        command = [sys.executable, "-m", "workbench.jobs.tied", MODULE, *job.arguments]
        settings = {MODE: LINES, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
        with self._file(job.id, "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # closed when this process ends, which ends that one: see tied.py
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | settings,
                start_new_session=True,
            )
        assert process.stdin is not None
        with process.stdin:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(BETWEEN)
                if asked.exists():
                    return _end(process)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Ask a process and its children to end, and make them where they do not."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(GRACE)
    return process.wait()
