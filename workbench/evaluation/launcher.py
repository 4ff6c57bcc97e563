"""Started by `sandbox.py` as a program: gives up what it can, sets limits, and becomes the command that it was given.

    python -I -S launcher.py LIMITS REPORT -- COMMAND...

LIMITS is a JSON object (cpu_seconds, memory_bytes, file_bytes). To the file descriptor REPORT goes `isolated` where the
command has namespaces of its own, and `shared` where the system refuses them. Needs the standard library alone.

Three processes: this one, which is killed when its parent dies; the first process of the new namespace, which is killed
when this one dies, and whose end ends all that the command has started; and the command.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h
NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
NEW_IPC, NEW_USER, NEW_PID, NEW_NET = 0x08000000, 0x10000000, 0x20000000, 0x40000000  # CLONE_NEW* of linux/sched.h
OPEN_FILES = 256


def isolate(libc: Any) -> bool:
    """Leave the network and the other processes: in a user namespace, or without one where only root may."""
    if not hasattr(libc, "unshare"):
        return False
    inner = NEW_NET | NEW_PID | NEW_IPC
    return libc.unshare(NEW_USER | inner) == 0 or libc.unshare(inner) == 0


def limit(limits: dict[str, int]) -> None:
    """Set what this process and those it starts may use, each of them by itself."""
    cpu = limits["cpu_seconds"]
    for what, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        most = resource.getrlimit(what)[1]  # which no more than root may raise
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(what, (soft, hard))


def end_like(status: int) -> NoReturn:
    """End with the exit status of a process that was waited for; killed by a signal, with 128 and its number."""
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def run(command: list[str], limits: dict[str, int]) -> NoReturn:
    """Become the command, under limits."""
    try:
        limit(limits)
        os.execvp(command[0], command)
    except (OSError, ValueError) as error:
        print(f"{command[0]} cannot be started: {error}", file=sys.stderr, flush=True)
        os._exit(127)


def main() -> NoReturn:
    limits, report, command = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[4:]
    libc = ctypes.CDLL(None, use_errno=True)
    linux = hasattr(libc, "prctl")
    if linux:
        libc.prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    isolated = isolate(libc)
    os.write(report, b"isolated" if isolated else b"shared")
    os.close(report)
    first = os.fork()
    if first:
        end_like(os.waitpid(first, 0)[1])
    if linux:
        libc.prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    child = os.fork()
    if not child:
        run(command, limits)
    while True:  # the first process of a namespace also inherits orphans
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            end_like(status)


if __name__ == "__main__":
    main()
