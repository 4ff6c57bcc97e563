"""How scripts and styles reach the browser: compressed once, kept there for good, and fetched before they are due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import brotli
from flask import Response, request

from .freeze import Sent

if TYPE_CHECKING:
    from dash import Dash

SUITES = "/_dash-component-suites/"
GRIDS = f"{SUITES}dash_ag_grid/async-community.js"  # what the first grid of a page waits for
LEVEL = 5  # of brotli: a twentieth smaller than 4, for once 0.1 s a megabyte
GZIP_LEVEL = 3  # of pages: a tenth larger than 6, for a third of the time
SHORTLY = 600  # seconds, for scripts whose address does not tell their version
FOR_GOOD = "public, max-age=31536000, immutable"


def deliver(app: Dash) -> None:
    """Send the packages' scripts as they were compressed first, and let browsers keep our own until they change."""
    kept: dict[str, bytes] = {}
    app.server.config["COMPRESS_LEVEL"] = GZIP_LEVEL

    def send(answer: Response) -> Response:
        if request.path.startswith("/assets/") and "m" in request.args:  # m: when the file was changed
            answer.headers["Cache-Control"] = FOR_GOOD
        if not request.path.startswith(SUITES) or answer.status_code != 200 or not request.accept_encodings["br"]:
            return answer
        answer.cache_control.max_age = answer.cache_control.max_age or SHORTLY
        if request.path not in kept:
            answer.direct_passthrough = False
            kept[request.path] = brotli.compress(answer.get_data(), quality=LEVEL)
        answer.set_data(kept[request.path])
        answer.headers["Content-Encoding"] = "br"
        answer.vary.add("Accept-Encoding")
        return answer

    app.server.after_request(send)


def fetched_ahead(content: Any) -> str:
    """The scripts that a frozen page will wait for, as an HTTP ``Link``; "" for none."""
    nodes = [content]
    for node in nodes:
        if isinstance(node, list):
            nodes += node
        elif isinstance(node, Sent):
            if node["type"] == "AgGrid":
                return f"<{request.script_root}{GRIDS}>; rel=prefetch; as=script"  # a preload that is used late warns
            nodes.append(node["props"].get("children"))
    return ""
