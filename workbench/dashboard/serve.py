"""Serving the dashboard of a run until interrupted."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadInputError

HOST, PORT = "127.0.0.1", 8050


def serve(run: str | Path, host: str = HOST, port: int = PORT, model: str | Path | None = None) -> None:
    """Serve the run at ``run`` and print the address; return when interrupted.

    Args:
        run: folder of the run.
        host: address to listen on; the default keeps the dashboard on this machine.
        port: port to listen on.
        model: folder or hub name of the model for prompts; the one the run was exported from by default.

    Raises:
        NotFoundError: there is no complete run there.
        BadInputError: nothing can listen on that address.
    """
    if not 0 < port < 65_536:
        raise BadInputError(f"there is no port {port}; choose one from 1 to 65535.")
    import waitress

    from ..store import open_run
    from .application import create_app

    application = create_app(open_run(run), model).server
    try:
        listening = waitress.create_server(application, host=host, port=port, threads=8)
    except OSError as error:
        raise BadInputError(f"cannot listen on {host}:{port} ({error}); choose another port.") from error
    print(f"Serving {run} at http://{host}:{port}/ (Ctrl+C stops it)", flush=True)
    listening.run()
