"""Who may ask the dashboard, under which address, and what a browser may do with its pages."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Response, request
from flask_compress import Compress

from ..api.failures import failure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from dash import Dash

LARGEST_REQUEST = 4_000_000  # bytes; the state of a page with the longest prompt is far below


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        password: asked for by HTTP Basic authentication, with any user name, or as a bearer token; "" for none.
        loopback: whether only this machine can reach the server, so that a request must name it: a page of another
            site, whose name was made to lead here, cannot read the run.
        base_path: the path below which a proxy has put the dashboard, such as ``/monet``; "" for none.
    """

    password: str = ""
    loopback: bool = False
    base_path: str = ""


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own.

    Examples:
        >>> from workbench.dashboard.access import is_loopback
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Mounted:
    """An application below a path, whether the proxy in front of it passes the path on or takes it off."""

    def __init__(self, application: WSGIApplication, base_path: str) -> None:
        self._application, self._base = application, base_path

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, with the path below as the application's own."""
        path = environ.get("PATH_INFO", "")
        if path == self._base or path.startswith(self._base + "/"):
            environ["PATH_INFO"] = path[len(self._base) :] or "/"
        environ["SCRIPT_NAME"] = self._base
        return self._application(environ, start_response)


def protect(app: Dash, access: Access) -> None:
    """Refuse who may not ask, compress what is sent, and let the browser run the application's own scripts only."""
    app.server.config.update(
        MAX_CONTENT_LENGTH=LARGEST_REQUEST,
        COMPRESS_ALGORITHM=["br", "gzip"],
        COMPRESS_ALGORITHM_STREAMING=["br", "deflate"],  # scripts; browsers take br on this machine and over https
        COMPRESS_BR_LEVEL=4,
        COMPRESS_MIN_SIZE=1_000,
    )
    app.server.before_request(lambda: _refusal(access))
    app.server.after_request(_headers(app))
    Compress(app.server)
    if access.base_path:
        app.server.wsgi_app = Mounted(app.server.wsgi_app, access.base_path)


def _refusal(access: Access) -> Response | None:
    if access.loopback and not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
        said = "This dashboard answers this machine only. To let others in, serve it with --host and --password.\n"
        return _refused(403, "other-site", said)
    if access.password and not _knows(access.password):
        said = "The dashboard asks for its password: any user name, and the password that it was served with.\n"
        answer = _refused(401, "no-password", said)
        answer.headers["WWW-Authenticate"] = 'Basic realm="Monet workbench"'
        return answer
    return None


def _refused(status: int, kind: str, said: str) -> Response:
    """The refusal as the API says it, or as text where anything else was asked for."""
    if request.path.startswith("/api/"):
        return failure(status, kind, said.strip())
    return Response(said, status, mimetype="text/plain")


def _knows(password: str) -> bool:
    given = request.authorization
    told = (given.password or given.token or "") if given else ""
    return hmac.compare_digest(told.encode(), password.encode())


def _headers(app: Dash) -> Any:
    policy = (
        f"default-src 'self'; script-src 'self' {' '.join(app.csp_hashes())}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
    )

    def add(answer: Response) -> Response:
        answer.headers.setdefault("Content-Security-Policy", policy)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "same-origin"
        return answer

    return add
