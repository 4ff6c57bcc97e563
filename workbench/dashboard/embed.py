"""Cards of experts that other sites may show inside their pages: plain HTML, no scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from dash import Dash
from flask import Response, has_request_context, request

from ..errors import BadInputError, WorkbenchError, kind_of
from ..explain import read_explanations
from ..report.card import expert_card
from ..store.address import Expert, read_expert
from . import links

if TYPE_CHECKING:
    from .context import Context

WIDTH, HEIGHT = 640, 520  # of the frame, in pixels
_HOST = re.compile(r"(https?://)?(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:(\d{1,5}|\*))?", re.I)


def check_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """The sites that may show cards, if each is one.

    Raises:
        BadInputError: one is not of the form ``[http[s]://][*.]name[:port]``.

    Examples:
        >>> from workbench.dashboard.embed import check_hosts
        >>> check_hosts(["notes.example.org", "https://*.example.org:8443"])
        ('notes.example.org', 'https://*.example.org:8443')
    """
    known = tuple(hosts)
    for host in known:
        if not _HOST.fullmatch(host):
            raise BadInputError(f"{host!r} names no site; write its host, such as notes.example.org or localhost:8888.")
    return known


def embed_code(expert: Expert) -> str:
    """The HTML that shows an expert's card in another page."""
    here = request.host_url.rstrip("/") if has_request_context() else ""
    source = escape(here + links.expert_card_link(*expert))
    return f'<iframe src="{source}" title="Expert {expert}" width="{WIDTH}" height="{HEIGHT}" loading="lazy"></iframe>'


def register(app: Dash, ctx: Context) -> None:
    """The cards; the sites that may show them are in the header ``Content-Security-Policy``."""
    ancestors = " ".join(["'self'", *ctx.embed_hosts])
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors {ancestors}"
    )

    @app.server.get(links.EXPERT_CARD)
    def card(group: str, expert: str) -> Response:
        try:
            chosen = read_expert(f"{group}:{expert}", ctx.run.groups, ctx.run.num_keys)
            page = expert_card(ctx.run, chosen, read_explanations(ctx.run, *chosen), links.expert_link(*chosen))
            answer = Response(page, mimetype="text/html")
        except WorkbenchError as error:
            answer = Response(f"{error}\n", status=kind_of(error).status, mimetype="text/plain")
        answer.headers["Content-Security-Policy"] = policy
        return answer
