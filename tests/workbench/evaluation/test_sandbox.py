"""Generated programs run with limits, in a folder of their own, without a network where the system allows that."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from workbench.errors import BadInputError
from workbench.evaluation import Limits
from workbench.evaluation.sandbox import FAILED, PASSED, SHOWN, STOPPED, TIMED_OUT, Outcome, run_limited

MEGABYTE = 1 << 20


def python(code: str, **limits: int) -> Outcome:
    """What comes of a Python program."""
    return run_limited({"main.py": code}, [[sys.executable, "-I", "main.py"]], Limits(**limits))


@pytest.fixture(scope="module")
def isolated() -> None:
    """A system that gives programs namespaces of their own."""
    if not python("").isolated:
        pytest.skip("this system refuses namespaces, so programs share its network and processes")


def test_a_program_passes_with_status_zero_and_fails_otherwise() -> None:
    assert python("print('fine')").reason == PASSED
    wrong = python("assert 1 + 1 == 3, 'wrong sum'")
    assert (wrong.reason, wrong.status) == (FAILED, 1)
    assert "wrong sum" in wrong.output
    assert python("import os; os.kill(os.getpid(), 6)").status == 128 + 6


def test_cpu_time_is_limited() -> None:
    assert python("while True: pass", cpu_seconds=1).reason == STOPPED


def test_wall_time_is_limited() -> None:
    assert python("import time; time.sleep(600)", wall_seconds=1).reason == TIMED_OUT


def test_memory_is_limited() -> None:
    code = "data = bytearray(512 * 2**20); print(len(data))"
    assert python(code).reason == PASSED
    small = python(code, memory_bytes=256 * MEGABYTE)
    assert small.reason == FAILED
    assert "MemoryError" in small.output


def test_the_size_of_files_is_limited_its_output_included() -> None:
    code = "open('file', 'wb').write(bytes(3 * 2**20))"
    assert python(code).reason == PASSED
    assert "File too large" in python(code, file_bytes=MEGABYTE).output
    assert python("while True: print('x' * 9999)", file_bytes=MEGABYTE).reason != PASSED


def test_a_child_is_limited_as_well() -> None:
    code = (
        "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', 'while True: pass']).returncode != 0)"
    )
    assert python(code, cpu_seconds=1).status == 1


def test_the_end_of_a_long_output_is_kept() -> None:
    shown = python("print('a' * 100_000 + 'the end')").output
    assert shown.endswith("the end\n")
    assert len(shown) == SHOWN


def test_it_has_a_folder_of_its_own_that_is_removed() -> None:
    found = python("import os; open('made', 'w').close(); print(os.getcwd(), sorted(os.listdir()))")
    folder, _, names = found.output.strip().partition(" ")
    assert names == "['made', 'main.py']"
    assert Path(folder).parent == Path(tempfile.gettempdir())
    assert not Path(folder).exists()


def test_it_sees_neither_our_environment_nor_our_input_nor_our_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    code = "import os, sys; print(sorted(os.environ), sys.stdin.read() == '', len(os.listdir('/proc/self/fd')))"
    with tempfile.TemporaryFile() as file:
        os.set_inheritable(file.fileno(), True)
        assert python(code).output == "['HOME', 'LANG', 'PATH', 'TMPDIR'] True 4\n"  # three, and that of the listing


@pytest.mark.usefixtures("isolated")
def test_it_has_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()  # the server can be reached from here
        refused = python(f"import socket; socket.create_connection(('127.0.0.1', {port}))")
    assert refused.reason == FAILED
    assert "unreachable" in refused.output


@pytest.mark.usefixtures("isolated")
@pytest.mark.parametrize("sleeps", [False, True], ids=["it ended", "it was killed"])
def test_nothing_that_it_started_outlives_it(sleeps: bool, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = f"""
import fcntl, os, time
locked = open({str(lock)!r}, "w")
fcntl.flock(locked, fcntl.LOCK_EX)
if os.fork() == 0:
    os.setsid()  # leaves the group that is killed
    time.sleep(600)
os.close(1)
time.sleep(600 if {sleeps} else 0)
"""
    assert python(code, wall_seconds=2 if sleeps else 30).reason == (TIMED_OUT if sleeps else PASSED)
    with lock.open("w") as file:
        for _ in range(400):  # those that are killed are gone soon; one that was left would sleep on
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.05)
    pytest.fail("a process that the program started holds its lock")


def test_commands_run_in_turn_until_one_fails() -> None:
    touch, fail = (
        [sys.executable, "-c", "open('made', 'w')"],
        [sys.executable, "-c", "import os; os.stat('made'); 1 / 0"],
    )
    never = [sys.executable, "-c", "print('never')"]
    outcome = run_limited({}, [touch, fail, never])
    assert outcome.reason == FAILED
    assert "ZeroDivisionError" in outcome.output


def test_a_command_that_is_not_there_fails_by_name() -> None:
    outcome = run_limited({}, [["no-such-interpreter"]])
    assert (outcome.reason, outcome.status) == (FAILED, 127)
    assert "no-such-interpreter cannot be started" in outcome.output


def test_limits_of_nothing_are_refused() -> None:
    with pytest.raises(BadInputError, match="cpu_seconds must be at least 1, got 0"):
        Limits(cpu_seconds=0)
