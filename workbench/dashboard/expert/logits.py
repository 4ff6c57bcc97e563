"""The tokens that an expert promotes and suppresses most."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output

from ...errors import WorkbenchError, kind_of
from ...report.expert import LOGITS, logit_ends
from ...store.address import Expert
from ..context import Context
from ..elements import Element, dcc, dmc, html
from ..freeze import freeze
from ..parts import message, panel, table, term, token_shown


def logits_panel() -> Element:
    """The panel; a callback fills it in, as it takes the model."""
    return panel(
        "Top promoted and suppressed tokens",
        dcc.Loading(dmc.Box(id="expert-logits", className="logits"), delay_show=200),
        note=[term("logit effect", "Logit effect"), ", averaged over the expert's best tokens."],
    )


def logits_table(ctx: Context, expert: Expert) -> Any:
    """The logit effect of an expert as a table; a message where there is no model."""
    try:
        view = ctx.logit_view(*expert, LOGITS)
    except WorkbenchError as error:
        return message(kind_of(error).heading, str(error), "warning")
    ends = logit_ends(view)
    rows = [
        [html.Span(token_shown(up["token"]), className="chip"), f"{up['logit']:+.3f}"]
        + [html.Span(token_shown(down["token"]), className="chip"), f"{down['logit']:+.3f}"]
        for up, down in zip(ends["promoted"], ends["suppressed"], strict=False)
    ]
    return table(["promoted", "logit", "suppressed", "logit"], rows, "Top promoted and suppressed tokens")


def register(app: Dash, ctx: Context) -> None:
    """The logit effect of the expert that is shown."""

    @app.callback(Output("expert-logits", "children"), Input("expert-chosen", "data"))
    def logits(chosen: list[int]) -> Any:
        return freeze(logits_table(ctx, Expert(*chosen)))
