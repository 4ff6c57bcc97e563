"""What the card beside a link to an expert shows, as JSON: see assets/hovercard.js."""

from __future__ import annotations

from typing import Any

from dash import Dash
from flask import Response, jsonify

from ..errors import WorkbenchError, kind_of
from ..report.label import top_tokens
from ..report.labels import shortened
from ..store.address import Expert, read_expert
from ..store.token_text import visible, visible_label, visible_prose
from . import links
from .context import Context
from .parts import LONGEST_NAME
from .tables import GENERAL

TOKENS = 6
LONGEST_EXPLANATION = 200  # characters


def card(ctx: Context, expert: Expert) -> dict[str, Any]:
    """Label, colour, top tokens and one explanation of an expert, as they are shown.

    Args:
        ctx: the run.
        expert: the expert.

    Returns:
        ``expert``, ``label``, ``colour``, ``tokens`` (texts, best first) and ``explanation`` ("" for none).
    """
    label = str(ctx.experts(expert.group)["specialised"].get(expert.id, GENERAL))
    explained = ctx.explained(expert.group, [expert.id]).get(expert.id, "")
    return {
        "expert": str(expert),
        "label": shortened(visible_label(label), LONGEST_NAME) or ctx.kind(*expert),
        "colour": ctx.colour(label),
        "tokens": [visible(text) for text in top_tokens(ctx.run, *expert, TOKENS)],
        "explanation": shortened(visible_prose(explained), LONGEST_EXPLANATION),
    }


def register(app: Dash, ctx: Context) -> None:
    """The address that answers with an expert's card."""

    @app.server.get(links.HOVER_CARD)
    def expert_card(group: str, expert: str) -> Response:
        try:
            told = card(ctx, read_expert(f"{group}:{expert}", ctx.run.groups, ctx.run.num_keys))
        except WorkbenchError as error:
            return Response(f"{error}\n", status=kind_of(error).status, mimetype="text/plain")
        return jsonify(told)
