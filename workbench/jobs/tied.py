"""`python -m workbench.jobs.tied MODULE ARGUMENTS`: run a module as `python -m` does, tied to another process.

When the process that holds its standard input ends, however it does, so does this one. SIGTERM raises SystemExit, so
that a file in the making is removed on the way out. The process yields to others: a page is to answer while it works.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from threading import Thread

from .job import GRACE

NICENESS = 10
ENDED = 128 + signal.SIGTERM


def _end(*_: object) -> None:
    raise SystemExit(ENDED)


def _watch() -> None:
    while os.read(0, 1024):  # not sys.stdin, whose lock the interpreter would wait for when it ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(ENDED)


def main() -> None:
    """Run the module that the command line names."""
    os.nice(NICENESS)
    signal.signal(signal.SIGTERM, _end)
    Thread(target=_watch, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
