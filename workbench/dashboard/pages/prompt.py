"""Try a prompt: its tokens, the strongest experts of every layer group for each, and what pushes the next token."""

from __future__ import annotations

import re
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update

from ...errors import WorkbenchError
from ...report.palette import LOWERS, RAISES
from ...report.reading import MAX_CHARACTERS, TOP_EXPERTS, Push, Reading, encode_text, read_push, read_text
from ...report.text import specialised_in
from ...store.text import visible
from ..context import GENERAL, Context
from ..freeze import freeze
from ..links import Address, expert_link, prompt_search, text_file
from ..parts import aria, bar, fact, facts, files, message, panel, swatch, table


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; the answer itself is filled in by a callback, as the first one loads the model."""
    ctx.prepare_model()
    text = address.query.get("text")
    return [
        html.H1("Try a prompt"),
        panel(
            "Prompt",
            [
                dmc.Textarea(
                    id="prompt-text",
                    value=text or "",
                    minRows=3,
                    maxRows=12,
                    autosize=True,
                    spellCheck=False,
                    label=f"Text for the model, up to {MAX_CHARACTERS:,} characters",
                    className="prompt-text",
                ),
                dmc.Button("Run", id="prompt-run", n_clicks=0, mt="sm"),
            ],
            note="The model reads the text as it stands; the address of this page then holds the prompt, to share.",
        ),
        dcc.Store(id="prompt-query", data={"text": text, "target": address.query.get("target")}),
        dcc.Loading(dmc.Box(id="prompt-answer", **aria(live="polite")), delay_show=200),
    ]


def _expert_link(ctx: Context, group: int, expert: int, label: str) -> list[Any]:
    name = label or "generalist"
    return [
        swatch(ctx.colour(label)),
        html.A(f"{group}:{expert}", href=expert_link(group, expert), **aria(label=f"expert {group}:{expert}, {name}")),
        html.Span(name, className="expert-label"),
    ]


def _token_table(ctx: Context, reading: Reading) -> html.Table:
    labels = {
        group: specialised_in(ctx.run, group, {e for token in tokens for e, _ in token})
        for group, tokens in reading.experts.items()
    }
    rows = []
    for at, piece in enumerate(reading.pieces):
        cells = [
            html.Td(
                html.Ol(
                    [
                        html.Li(
                            [
                                *_expert_link(ctx, group, expert, labels[group].get(expert, GENERAL)),
                                html.Span(f"{score:.2f}", className="score"),
                            ]
                        )
                        for expert, score in tokens[at]
                    ],
                    className="token-experts",
                )
            )
            for group, tokens in reading.experts.items()
        ]
        place = html.Th(
            [html.Span(f"{at + 1}", className="place"), html.Span(visible(piece), className="chip")], scope="row"
        )
        rows.append(html.Tr([place, *cells], id=f"token-{at}"))
    head = html.Tr([html.Th("token", scope="col"), *(html.Th(f"group {g}", scope="col") for g in reading.experts)])
    caption = html.Caption("Strongest experts of each token in each layer group", className="visually-hidden")
    return html.Table([caption, html.Thead(head), html.Tbody(rows)], className="prompt-table")


def _following(reading: Reading, text: str, target: int) -> html.Ul:
    """The likeliest next tokens, each a link to what pushes it."""
    links = [
        html.A(
            [
                html.Span(visible(piece), className="chip"),
                html.Span(f"{100 * probability:.1f} %", className="count"),
            ],
            href="/prompt" + prompt_search(text, token),
            className="legend-entry" + (" chosen" if token == target else ""),
            **aria(label=f"explain {visible(piece)}", current="true" if token == target else None),
        )
        for token, piece, probability in reading.following
    ]
    return html.Ul([html.Li(link) for link in links], className="legend", **aria(label="likeliest next tokens"))


def _push_table(ctx: Context, push: Push) -> html.Table:
    labels = {
        group: specialised_in(ctx.run, group, set(rows["expert"])) for group, rows in push.experts.groupby("group")
    }
    reach = max(push.experts["contribution"].abs().max(), push.parts["contribution"].abs().max())

    def line(name: Any, where: str, contribution: float) -> list[Any]:
        colour = RAISES if contribution > 0 else LOWERS
        return [name, where, bar(abs(contribution) / reach, colour), f"{contribution:+.4f}"]

    rows = [
        line(
            html.Span(_expert_link(ctx, row.group, row.expert, labels[row.group].get(row.expert, GENERAL))),
            f"layer {row.layer}",
            row.contribution,
        )
        for row in push.experts.itertuples(index=False)
    ]
    rows += [
        line(html.Strong(row.component), "all layers" if row.component != "embedding" else "", row.contribution)
        for row in push.parts.itertuples(index=False)
    ]
    return table(["component", "where", "", "contribution"], rows, "Contributions to the next token's logit", numeric=3)


def answer(ctx: Context, text: str, reading: Reading, push: Push, target: int) -> list[Any]:
    """The tokens as chips, each a link to its row of experts; those rows; and what pushes the next token."""
    chips = [
        html.A(visible(piece), href=f"#token-{at}", className="chip", **aria(label=f"token {at + 1}: {visible(piece)}"))
        for at, piece in enumerate(reading.pieces)
    ]
    logit = [
        fact("logit", f"{push.logit:.4f}"),
        fact("sum of all contributions", f"{push.total:.4f}"),
        fact("completeness", f"{push.completeness:.1e}", "how far the two are apart"),
    ]
    experts = panel(
        "Strongest experts",
        html.Div(_token_table(ctx, reading), className="wide"),
        note=f"The {TOP_EXPERTS} experts of highest routing score at each token, and the label each specialises in.",
    )
    following = panel(
        "Next token",
        [
            _following(reading, text, target),
            html.H3(["What pushes ", html.Span(visible(push.target), className="chip")]),
            facts(logit),
            _push_table(ctx, push),
        ],
        note="Direct logit attribution: how much each expert raises or lowers the logit of the token that follows. "
        "Choose another token to explain it.",
    )
    return [
        panel(
            f"{len(reading.pieces):,} tokens",
            [
                html.Div(chips, className="chips", id="prompt-tokens"),
                html.Div(files("Report", lambda kind: text_file(text, kind)), className="expert-nav"),
            ],
            note="A dot is a space, ↵ a line break, → a tab. Choose a token to see its experts.",
        ),
        html.Div([following, experts], className="side-and-main"),
    ]


def register(app: Dash, ctx: Context) -> None:
    """The button puts the prompt in the address; the address's prompt is run."""

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("prompt-answer", "children", allow_duplicate=True),
        Input("prompt-run", "n_clicks"),
        State("prompt-text", "value"),
        prevent_initial_call=True,
    )
    def run(clicks: int, text: str | None) -> tuple[Any, Any]:
        if not clicks:
            return no_update, no_update
        if not text or len(text) > MAX_CHARACTERS:  # kept out of the address, which would grow past what servers take
            return no_update, _read(ctx, text or "", None)
        return prompt_search(text), no_update

    @app.callback(Output("prompt-answer", "children"), Input("prompt-query", "data"))
    def show(query: dict[str, str | None]) -> Any:
        text = query["text"]
        return None if text is None else _read(ctx, text, query["target"])


def _read(ctx: Context, text: str, target: str | None) -> Any:
    try:
        encode_text(ctx.run, text)  # says what is wrong with the text before the model is loaded
        model = ctx.model()
        reading = read_text(ctx.run, model, text)
        chosen = int(target) if target and re.fullmatch(r"\d{1,9}", target) else reading.following[0][0]
        return freeze(answer(ctx, text, reading, read_push(ctx.run, model, reading, chosen), chosen))
    except WorkbenchError as error:
        return message("The prompt was not run", str(error), "error")
