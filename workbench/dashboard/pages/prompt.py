"""Try a prompt: its tokens, each one's strongest experts, what pushes the next token, and what an edit changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update

from ...errors import WorkbenchError
from ...report.palette import LOWERS, RAISES
from ...report.reading import (
    MAX_CHARACTERS,
    TOP_EXPERTS,
    Push,
    Reading,
    encode_text,
    probabilities,
    read_push,
    read_text,
)
from ...report.text import specialised_in
from ...store.text import visible
from ..context import GENERAL, Context
from ..edits import PromptEdit, matrices, read_edit
from ..freeze import freeze
from ..links import Address, expert_link, prompt_search, text_file
from ..parts import aria, bar, fact, facts, files, message, panel, swatch, table


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; the answer itself is filled in by a callback, as the first one loads the model."""
    ctx.prepare_model()
    text = address.query.get("text")
    without = dmc.Select(
        id="prompt-without",
        data=ctx.run.labels,
        value=address.query.get("without") or None,
        clearable=True,
        label="Without the experts of",
        placeholder="none removed" if ctx.analysed else "not analysed yet",
        disabled=not ctx.analysed,
        w=220,
    )
    edit = dmc.TextInput(
        id="prompt-edit",
        value=address.query.get("edit", ""),
        label="Experts scaled: group:id=factor, 0 removes",
        placeholder=f"{ctx.run.groups[0]}:17=0, {ctx.run.groups[-1]}:{ctx.run.num_keys + 1}=2",
        className="prompt-edit",
    )
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
                html.Div([without, edit], className="prompt-edits"),
                dmc.Button("Run", id="prompt-run", n_clicks=0, mt="sm"),
            ],
            note="The model reads the text as it stands; the address of this page then holds all of it, to share.",
        ),
        dcc.Store(id="prompt-query", data=address.query),
        dcc.Loading(dmc.Box(id="prompt-answer", **aria(live="polite")), delay_show=200),
    ]


def _expert_link(ctx: Context, group: int, expert: int, label: str) -> list[Any]:
    name = label or ctx.without_label
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


def _following(shown: Answer) -> html.Ul:
    """The likeliest next tokens, each a link to what pushes it."""
    links = []
    for (token, piece, probability), before in zip(shown.reading.following, shown.before, strict=True):
        was = [] if before is None else [html.Span(f"was {100 * before:.1f} %", className="count")]
        links.append(
            html.A(
                [
                    html.Span(visible(piece), className="chip"),
                    html.Span(f"{100 * probability:.1f} %", className="count"),
                    *was,
                ],
                href="/prompt" + prompt_search(shown.text, token, shown.edit.query()),
                className="legend-entry" + (" chosen" if token == shown.target else ""),
                **aria(label=f"explain {visible(piece)}", current="true" if token == shown.target else None),
            )
        )
    return html.Ul([html.Li(link) for link in links], className="legend", **aria(label="likeliest next tokens"))


def _toggle(shown: Answer, group: int, expert: int) -> html.A:
    """Removes an expert from the model, or puts it back, and runs the prompt again."""
    word = "restore" if (group, expert) in shown.edit.factors else "remove"
    edit = shown.edit.toggled(group, expert).query()
    return html.A(
        word,
        href="/prompt" + prompt_search(shown.text, shown.target, edit),
        **aria(label=f"{word} expert {group}:{expert}"),
    )


def _edited(shown: Answer) -> html.P | None:
    """The experts edited one by one, each with a link that leaves it alone again."""
    if not shown.edit.factors:
        return None
    named: list[list[Any]] = [
        [
            html.A(f"{group}:{expert}", href=expert_link(group, expert)),
            f" × {factor:g} ",
            _toggle(shown, group, expert),
            "; ",
        ]
        for (group, expert), factor in shown.edit.factors.items()
    ]
    return html.P(["Edited: ", *[part for parts in named for part in parts]], className="note", id="prompt-edited")


def _push_table(ctx: Context, shown: Answer) -> html.Table:
    push = shown.push
    labels = {
        group: specialised_in(ctx.run, group, set(rows["expert"])) for group, rows in push.experts.groupby("group")
    }
    reach = max(push.experts["contribution"].abs().max(), push.parts["contribution"].abs().max())

    def line(name: Any, where: str, contribution: float, toggle: Any = None) -> list[Any]:
        colour = RAISES if contribution > 0 else LOWERS
        return [name, where, bar(abs(contribution) / reach, colour), f"{contribution:+.4f}", toggle]

    rows = [
        line(
            html.Span(_expert_link(ctx, row.group, row.expert, labels[row.group].get(row.expert, GENERAL))),
            f"layer {row.layer}",
            row.contribution,
            _toggle(shown, row.group, row.expert),
        )
        for row in push.experts.itertuples(index=False)
    ]
    rows += [
        line(html.Strong(row.component), "all layers" if row.component != "embedding" else "", row.contribution)
        for row in push.parts.itertuples(index=False)
    ]
    return table(
        ["component", "where", "", "contribution", ""], rows, "Contributions to the next token's logit", numeric=3
    )


@dataclass(frozen=True)
class Answer:
    """What a prompt did.

    Attributes:
        text, edit: the prompt, and the edit it ran under.
        reading: its tokens, experts and likeliest next tokens.
        before: how likely each of these was without the edit; None where there is none.
        target: the next token explained.
        push: what pushes it.
    """

    text: str
    edit: PromptEdit
    reading: Reading
    before: list[float | None]
    target: int
    push: Push


def answer(ctx: Context, shown: Answer) -> list[Any]:
    """The tokens as chips, each a link to its row of experts; those rows; and what pushes the next token."""
    chips = [
        html.A(visible(piece), href=f"#token-{at}", className="chip", **aria(label=f"token {at + 1}: {visible(piece)}"))
        for at, piece in enumerate(shown.reading.pieces)
    ]
    push = shown.push
    logit = [
        fact("logit", f"{push.logit:.4f}"),
        fact("sum of all contributions", f"{push.total:.4f}"),
        fact("completeness", f"{push.completeness:.1e}", "how far the two are apart"),
    ]
    experts = panel(
        "Strongest experts",
        html.Div(_token_table(ctx, shown.reading), className="wide"),
        note=f"The {TOP_EXPERTS} experts of highest routing score at each token, and the label each specialises in.",
    )
    following = panel(
        "Next token, edited" if shown.edit else "Next token",
        [
            _edited(shown),
            _following(shown),
            html.H3(["What pushes ", html.Span(visible(push.target), className="chip")]),
            facts(logit),
            _push_table(ctx, shown),
        ],
        note="Direct logit attribution: how much each expert raises or lowers the logit of the token that follows. "
        "Choose another token to explain it; remove an expert to see the model without it.",
    )
    report = files("Report", lambda kind: text_file(shown.text, kind))  # of the model as it is
    return [
        panel(
            f"{len(shown.reading.pieces):,} tokens",
            [
                html.Div(chips, className="chips", id="prompt-tokens"),
                None if shown.edit else html.Div(report, className="expert-nav"),
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
        State("prompt-edit", "value"),
        State("prompt-without", "value"),
        prevent_initial_call=True,
    )
    def run(clicks: int, text: str | None, edit: str | None, without: str | None) -> tuple[Any, Any]:
        if not clicks:
            return no_update, no_update
        fields = {name: value for name, value in (("edit", edit), ("without", without)) if value}
        if not text or len(text) + len(edit or "") > MAX_CHARACTERS:  # kept out of the address, which servers limit
            return no_update, _read(ctx, Address("prompt", query={"text": text or ""} | fields))
        return prompt_search(text, edit=fields), no_update

    @app.callback(Output("prompt-answer", "children"), Input("prompt-query", "data"))
    def show(query: dict[str, str]) -> Any:
        return _read(ctx, Address("prompt", query=query)) if "text" in query else None


def _read(ctx: Context, address: Address) -> Any:
    text, target = address.query["text"], address.query.get("target", "")
    try:
        encode_text(ctx.run, text)  # says what is wrong with text or edit before the model is loaded
        edit = read_edit(address, ctx)
        model = ctx.model()
        with model.edit_experts(matrices(edit, ctx)):
            reading = read_text(ctx.run, model, text)
            chosen = int(target) if re.fullmatch(r"\d{1,9}", target) else reading.following[0][0]
            push = read_push(ctx.run, model, reading, chosen)
        before: list[float | None] = [None] * len(reading.following)
        if edit:
            before = [*probabilities(model, reading.ids, [token for token, _, _ in reading.following])]
        return freeze(answer(ctx, Answer(text, edit, reading, before, chosen, push)))
    except WorkbenchError as error:
        return message("The prompt was not run", str(error), "error")
