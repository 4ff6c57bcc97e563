"""Runs generated programs with limits: CPU time, memory, size of files, wall time, no network, a folder of their own.

This stops programs that run away or go astray. It is no wall against hostile ones: they may read and write whatever
their user may, outside the folder too. Where that matters, run all of it in a container or as a user without rights.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInputError

LAUNCHER = Path(__file__).with_name("launcher.py")
SHOWN = 2000  # characters of a program's output that are kept, the last ones
PASSED, FAILED, TIMED_OUT, STOPPED = "passed", "failed", "timed out", "stopped at a limit"
_AT_A_LIMIT = {128 + signal.SIGXCPU, 128 + signal.SIGXFSZ, 128 + signal.SIGKILL}


@dataclass(frozen=True)
class Limits:
    """What each process of a program may use.

    Attributes:
        cpu_seconds: of CPU time.
        memory_bytes: of address space, which interpreters reserve more of than they use.
        file_bytes: of each file it writes, its output included.
        wall_seconds: until all of it is killed.

    Raises:
        BadInputError: one is less than 1.
    """

    cpu_seconds: int = 10
    memory_bytes: int = 4 << 30
    file_bytes: int = 16 << 20
    wall_seconds: int = 30

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise BadInputError(f"the limit {name} must be at least 1, got {value}.")


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        reason: ``passed`` (exit status 0), ``failed``, ``timed out`` or ``stopped at a limit``.
        status: exit status of the last command that ran; 128 and a signal's number where it was killed.
        output: the end of what it printed, errors included.
        isolated: whether it had no network and could not outlive its end; False where the system has no namespaces to
            give.
    """

    reason: str
    status: int
    output: str
    isolated: bool


def run_limited(files: Mapping[str, str], commands: Sequence[Sequence[str]], limits: Limits | None = None) -> Outcome:
    """Run commands one after the other, in a new folder that is removed afterwards, until one fails.

    They see none of this program's environment, input or open files.

    Args:
        files: name -> content of the files in the folder.
        commands: each a program and its arguments.
        limits: of each command.

    Examples:
        >>> import sys
        >>> from workbench.evaluation.sandbox import run_limited
        >>> run_limited({"main.py": "assert 1 + 1 == 3"}, [[sys.executable, "-I", "main.py"]]).reason
        'failed'
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="monet-sandbox-", ignore_cleanup_errors=True) as folder:
        for name, content in files.items():
            (Path(folder) / name).write_text(content, encoding="utf-8")
        for command in commands:
            outcome = _run(folder, command, limits)
            if outcome.reason != PASSED:
                break
    return outcome


def _run(folder: str, command: Sequence[str], limits: Limits) -> Outcome:
    report, told = os.pipe()
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
    arguments = [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(vars(limits)), str(told), "--", *command]
    with os.fdopen(report, "rb") as reading, tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                arguments,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(told,),
                start_new_session=True,
            )
        finally:
            os.close(told)
        timed_out = False
        try:
            process.wait(limits.wall_seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            if process.returncode is None:  # out of time, or interrupted
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        isolated = reading.read() == b"isolated"
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - 4 * SHOWN))
        text = output.read().decode("utf-8", errors="replace")[-SHOWN:]
    status = status if status >= 0 else 128 - status
    ended = PASSED if status == 0 else STOPPED if status in _AT_A_LIMIT else FAILED
    return Outcome(TIMED_OUT if timed_out else ended, status, text, isolated)
