"""Reports as files to download: the addresses that answer with a file in place of a page."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dash import Dash
from flask import Response, request, send_file

from ..analysis import DiffResult, read_diff
from ..analysis.attribution.prompt import Prompt, read_prompt
from ..errors import BadInputError, NotAnalysedError, WorkbenchError, kind_of
from ..report.diff import diff_document
from ..report.expert import LOGITS, expert_document
from ..report.files import Document, encode
from ..report.kinds import check_kind
from ..report.label import label_document
from ..report.list import list_document
from ..report.text import text_document
from ..store.address import Expert, read_expert
from . import links
from .edits import edited_experts, file_edit, model_edit, read_edit
from .parts import told_plainly
from .prompting.answer import read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from ..store.edit_text import PromptEdit
    from .context import Context

LONGEST_NAME = 80  # characters of a label in the name of a file


def _file_name(label: str) -> str:
    """A label as part of a file's name, and of the header that names the file."""
    kept = ("_" if c in '/\\:*?"<>|' or unicodedata.category(c)[0] in "CZ" else c for c in label)
    return "".join(kept)[:LONGEST_NAME]


def _answer(report: Callable[[], Document], kind: str, name: str) -> Response:
    try:
        check_kind(kind)
        content = encode(report(), kind)
    except WorkbenchError as error:
        return Response(told_plainly(f"{error}\n"), status=kind_of(error).status, mimetype="text/plain")
    return send_file(io.BytesIO(content), as_attachment=True, download_name=f"{name}.{kind}")


def register(app: Dash, ctx: Context) -> None:
    """The reports of experts, labels, lists, texts and of a diff, in every format."""

    @app.server.get(links.EXPERT_FILE)
    def expert(group: str, expert: str, kind: str) -> Response:
        def report() -> Document:
            asked = read_expert(f"{group}:{expert}", ctx.run.groups, ctx.run.num_keys)
            return expert_document(ctx.run, asked, _logit_view(ctx, asked))

        return _answer(report, kind, f"expert-{group}-{expert}")

    @app.server.get(links.LABEL_FILE)
    def label(kind: str) -> Response:
        chosen = request.args.get("label", "")
        return _answer(lambda: label_document(ctx.run, chosen), kind, f"label-{_file_name(chosen)}")

    @app.server.get(links.LIST_FILE)
    def list_of_experts(kind: str) -> Response:
        chosen = request.args.get("list", "")

        def report() -> Document:
            return list_document(ctx.run, chosen, ctx.notes.description(chosen), ctx.notes.list_items(chosen))

        return _answer(report, kind, f"list-{_file_name(chosen)}")

    @app.server.get(links.DIFF_FILE)
    def diff(kind: str) -> Response:
        def report() -> Document:
            result = read_diff(ctx.run)
            if result is None:
                raise NotAnalysedError(f"this run keeps no diff; run `{DiffResult.command_line(ctx.run, None)}`.")
            return diff_document(result)

        return _answer(report, kind, "diff")

    @app.server.get(links.TEXT_FILE)
    def text(kind: str) -> Response:
        def report() -> Document:
            prompt, edit = read_text(ctx, request.args), read_edit(request.args, ctx)
            if not edit:
                return text_document(ctx.run, ctx.model(), prompt)
            experts = _edited(ctx, edit, prompt)
            return text_document(ctx.run, ctx.model(), prompt, model_edit(edit, experts, ctx.model(), prompt))

        return _answer(report, kind, "text")

    @app.server.get(links.EDIT_FILE)
    def edit() -> Response:
        try:
            asked = read_edit(request.args, ctx)
            if not asked:
                raise BadInputError("the address has no edit; add edit=group:id=factor.")
            prompt = read_text(ctx, request.args) if request.args.get("text") else None
            made = file_edit(asked, _edited(ctx, asked, prompt), ctx.model())
        except WorkbenchError as error:
            return Response(told_plainly(f"{error}\n"), status=kind_of(error).status, mimetype="text/plain")
        with TemporaryDirectory() as folder:
            made.save(path := Path(folder) / "edit.safetensors")
            content = path.read_bytes()
        return send_file(io.BytesIO(content), as_attachment=True, download_name="edit.safetensors")


def _logit_view(ctx: Context, expert: Expert) -> pd.DataFrame | None:
    """What the expert's page shows of its logit effect; None where the run's model cannot be run."""
    try:
        return ctx.logit_view(*expert, LOGITS)
    except WorkbenchError:
        return None


def _edited(ctx: Context, edit: PromptEdit, prompt: Prompt | None) -> pd.DataFrame:
    """The experts that an edit names; some are named by what the prompt activates."""
    reading = read_prompt(ctx.model(), prompt) if prompt is not None and edit.reads_prompt else None
    return edited_experts(edit, ctx, reading)
