"""Reports as files to download: the addresses that answer with a file in place of a page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from dash import Dash
from flask import Response, request, send_file

from ..errors import WorkbenchError
from ..report.expert import expert_document
from ..report.files import Document, encode
from ..report.kinds import check_kind
from ..report.label import label_document
from ..report.text import text_document
from ..store.address import read_expert
from . import links
from .failures import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context


def _answer(report: Callable[[], Document], kind: str, name: str) -> Response:
    try:
        check_kind(kind)
        content = encode(report(), kind)
    except WorkbenchError as error:
        return Response(f"{error}\n", status=kind_of(error).status, mimetype="text/plain")
    return send_file(io.BytesIO(content), as_attachment=True, download_name=f"{name}.{kind}")


def register(app: Dash, ctx: Context) -> None:
    """The reports of experts, labels and texts, in every format."""

    @app.server.get(links.EXPERT_FILE)
    def expert(group: str, expert: str, kind: str) -> Response:
        def report() -> Document:
            return expert_document(ctx.run, read_expert(f"{group}:{expert}", ctx.run.groups, ctx.run.num_keys))

        return _answer(report, kind, f"expert-{group}-{expert}")

    @app.server.get(links.LABEL_FILE)
    def label(kind: str) -> Response:
        chosen = request.args.get("label", "")
        return _answer(lambda: label_document(ctx.run, chosen), kind, f"label-{chosen}")

    @app.server.get(links.TEXT_FILE)
    def text(kind: str) -> Response:
        return _answer(lambda: text_document(ctx.run, ctx.model(), request.args.get("text", "")), kind, "text")
