"""The dashboard's entry: `python app.py [RUN]` serves it as `monet serve` does; `app:server` is its WSGI application.

A WSGI server takes the run from the environment variable MONET_RUN, by default runs/demo.
"""

from __future__ import annotations

import os
import sys
from typing import Any

DEFAULT_RUN = "runs/demo"


def __getattr__(name: str) -> Any:
    """``server``, made when a WSGI server first asks for it, so that importing this module needs no run."""
    if name != "server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from workbench import open_run
    from workbench.dashboard import create_app

    server = create_app(open_run(os.environ.get("MONET_RUN", DEFAULT_RUN))).server
    globals()["server"] = server
    return server


def main(arguments: list[str] | None = None) -> int:
    """Serve a run until interrupted; the exit code, which is 2 where there is no such run or address."""
    from workbench.cli import main as monet

    os.environ.setdefault("MONET_RUN", DEFAULT_RUN)
    try:
        monet(["serve", *(sys.argv[1:] if arguments is None else arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
