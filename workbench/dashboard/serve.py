"""Serving the dashboard of a run until interrupted."""

from __future__ import annotations

import gc
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from ..device import VARIABLE, read_device
from ..errors import BadInputError, WorkbenchError
from .access import Access, is_loopback

HOST, PORT = "127.0.0.1", 8050
MOST_PROCESSES = 2  # by default: each holds the tables of the run, and the model once a prompt is run in it
THREADS = 8


def serve(
    run: str | Path,
    host: str = HOST,
    port: int = PORT,
    model: str | Path | None = None,
    *,
    password: str = "",
    processes: int | None = None,
    embed_hosts: Sequence[str] = (),
    base_path: str = "",
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Serve the run at ``run`` and print the address; return when interrupted.

    Args:
        run: folder of the run.
        host: address to listen on; the default keeps the dashboard on this machine.
        port: port to listen on.
        model: folder or hub name of the model for prompts; the one the run was exported from by default.
        password: what a browser must give; "" for none.
        processes: how many answer; by default two, or one on a machine of one core.
        base_path: path below which a proxy has put the dashboard, such as ``/monet``.
        device, dtype: where the model runs and in which precision, as for ``load_model``; jobs that pages start run
            there too.
        embed_hosts: the sites whose pages may show cards of experts, such as ``notebooks.example.org``.

    Raises:
        NotFoundError: there is no complete run there.
        UnsupportedError: this machine lacks the device.
        BadInputError: nothing can listen on that address, ``processes`` is below 1, or ``embed_hosts`` or
            ``base_path`` is none.
    """
    if not 0 < port < 65_536:
        raise BadInputError(f"there is no port {port}; choose one from 1 to 65535.")
    workers = min(MOST_PROCESSES, os.cpu_count() or 1) if processes is None else processes
    if workers < 1:
        raise BadInputError(f"{workers} processes cannot serve; give 1 or more.")
    from ..store import open_run
    from .embed import check_hosts

    if device != "auto":
        os.environ[VARIABLE] = str(read_device(device))  # for the jobs; and an error is told now
    opened = open_run(run)
    hosts = check_hosts(embed_hosts)
    base = _base(base_path)
    own = is_loopback(host)
    access = Access(password, own and not base, base)  # a proxy passes on names of its own
    _check_free(host, port)
    if not own and not password:
        print(
            f"WARNING: everyone who can reach {host}:{port} can read this run, run its model and change its notes. "
            "Give --password to ask for one.",
            file=sys.stderr,
            flush=True,
        )

    from .context import Context

    def make() -> Any:
        from .application import app_of

        server = app_of(ctx, access=access).server
        _keep()
        return server

    def ready(_server: Any) -> None:
        print(f"Serving {run} at http://{host}:{port}{base}/ (Ctrl+C stops it)", flush=True)

    with _shared_folder() as shared:
        ctx = Context(opened, model, hosts, shared, device, dtype)
        with suppress(WorkbenchError):  # the pages that need what is damaged say so
            ctx.prepare()
        _keep()
        _listen(make, ready, f"{host}:{port}", workers)


def _keep() -> None:
    """Leave what is there now out of every later collection of garbage: it is here to stay, and forked processes share
    it for as long as nobody writes to it."""
    gc.collect()
    gc.freeze()


@contextmanager
def _shared_folder() -> Iterator[Path]:
    """A folder for the processes that serve together. It goes with the first of them: those that it forks leave this
    block as well, when one ends before the others."""
    folder, owner = Path(mkdtemp(prefix="monet-")), os.getpid()
    try:
        yield folder
    finally:
        if os.getpid() == owner:
            rmtree(folder, ignore_errors=True)


def _base(path: str) -> str:
    base = "/" + path.strip("/") if path.strip("/") else ""
    if base and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", base):
        raise BadInputError(f"{path!r} is no path to serve below; write letters, digits and - . _ ~, such as /monet.")
    return base


def _check_free(host: str, port: int) -> None:
    """Say now that an address cannot be listened on: the server would try again and again."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), port))
    except OSError as error:
        raise BadInputError(f"cannot listen on {host}:{port} ({error}); choose another port.") from error


def _listen(make: Callable[[], Any], ready: Callable[[Any], None], address: str, workers: int) -> None:
    """Gunicorn with threads. Each process makes its own application, around tables that all of them share; torch, whose
    threads do not survive a fork, is not at work yet."""
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):
        def load_config(self) -> None:
            settings = {
                "bind": address,
                "workers": workers,
                "threads": THREADS,
                "worker_class": "gthread",
                "timeout": 0,  # a first prompt loads the model, however long that takes
                "graceful_timeout": 2,
                "limit_request_line": 0,  # the address of a prompt holds all of it; pages set its limit
                "loglevel": "warning",
                "when_ready": ready,
            }
            for name, value in settings.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            return make()

    Server().run()
