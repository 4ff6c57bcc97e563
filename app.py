"""The dashboard's entry: `python app.py [RUN]` serves it; `app:server` is its WSGI application.

A WSGI server takes the run from the environment variable MONET_RUN, by default runs/demo.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from workbench.dashboard.serve import HOST, PORT, serve
from workbench.errors import WorkbenchError

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
    """Serve a run until interrupted; the exit code is 2 where there is no run to serve or no address to serve it on."""
    parser = argparse.ArgumentParser(prog="app.py", description="Browse the experts of an exported run.")
    parser.add_argument("run", nargs="?", default=os.environ.get("MONET_RUN", DEFAULT_RUN), help="folder of the run")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--host", default=HOST, help=f"address to listen on; {HOST} keeps it on this machine")
    options = parser.parse_args(arguments)
    try:
        serve(options.run, options.host, options.port)
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
