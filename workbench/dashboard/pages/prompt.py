"""The prompt page: a text's tokens, the top experts of each, the next token's attribution, and what an edit changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import Dash, Input, Output, State, dcc, html, no_update

from ...analysis.attribution.direct import Attribution
from ...analysis.attribution.prompt import TOP_EXPERTS, Prompt, PromptReading, read_prompt
from ...analysis.run_model import run_tokenizer
from ...errors import BadInputError, WorkbenchError
from ...report.palette import LOWERS, RAISES
from ...report.text import specialised_in
from ...store.address import Expert
from ...store.token_text import visible
from ..context import GENERAL, Context
from ..edits import PromptEdit, count_removed, expert_edit, read_edit
from ..freeze import freeze
from ..links import PROMPT_PATH, Address, expert_link, prompt_link, prompt_search, text_file
from ..page import Page
from ..parts import aria, bar, fact, facts, files, message, panel, swatch, table

MAX_CHARACTERS = 16_000  # of prompt and edit: the address holds both, and servers limit addresses


def prompt_limit(ctx: Context) -> str:
    """How long a prompt may be: the model's context, or what an address holds where that is less."""
    tokens = ctx.context_length
    each = ctx.characters_per_token
    if each is None:
        return f"{tokens:,} tokens"
    characters = round(tokens * each, -1)
    return f"{tokens:,} tokens (about {characters:,.0f} characters)" if characters < MAX_CHARACTERS else _CHARACTERS


_CHARACTERS = f"{MAX_CHARACTERS:,} characters"


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; a callback fills in the answer, as the first one loads the model."""
    ctx.prepare_model()
    text = address.query.get("text")
    without = dmc.Select(
        id="prompt-without",
        data=ctx.run.labels,
        value=address.query.get("without") or None,
        clearable=True,
        label="Without the experts of",
        placeholder="no label removed" if ctx.analysed else "not analysed yet",
        disabled=not ctx.analysed,
        w=220,
    )
    edit = dmc.TextInput(
        id="prompt-edit",
        value=address.query.get("edit", ""),
        label="Experts scaled, as group:id=factor (0 removes an expert)",
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
                    label=f"Text for the model, up to {prompt_limit(ctx)}",
                    className="prompt-text",
                ),
                html.Div([without, edit], className="prompt-edits"),
                dmc.Button("Run", id="prompt-run", n_clicks=0, mt="sm"),
            ],
            note="The model reads the text exactly as typed. The page's address holds text and edit, for sharing.",
        ),
        dcc.Store(id="prompt-query", data=address.query),
        dcc.Loading(dmc.Box(id="prompt-answer", **aria(live="polite")), delay_show=200),
    ]


@dataclass(frozen=True)
class Answer:
    """What the model did with a prompt.

    Attributes:
        edit: the edit in force.
        removed: number of experts that it removes.
        reading: the prompt read under the edit.
        before: the prompt read without it; None where there is no edit.
        target: the next token that is explained.
        attribution: its direct logit attribution, under the edit.
    """

    edit: PromptEdit
    removed: int
    reading: PromptReading
    before: PromptReading | None
    target: int
    attribution: Attribution


def read_answer(ctx: Context, address: Address) -> Answer:
    """Run the prompt of an address: one forward pass, and one more without the edit where there is an edit.

    Raises:
        BadInputError: the text is empty or too long, the edit cannot be read, or the target is no token.
        NotFoundError: an edit of an expert or label that the run does not have; or there is no model.
        NotAnalysedError: an edit of a label, of a run that has not been analysed.
        UnsupportedError: the run has no tokenizer, or the model is another one.
    """
    text = address.query["text"]
    if len(text) > MAX_CHARACTERS:
        raise BadInputError(f"the text has {len(text):,} characters; the limit is {prompt_limit(ctx)}. Shorten it.")
    prompt = Prompt.tokenise(run_tokenizer(ctx.run), text, ctx.context_length)  # before the model is loaded
    edit = read_edit(address, ctx)
    model = ctx.model()
    made = expert_edit(edit, ctx, model)
    with model.edit_experts(made):
        reading = read_prompt(model, prompt)
    before = read_prompt(model, prompt) if edit else None
    chosen = address.query.get("target", "")
    target = int(chosen) if re.fullmatch(r"\d{1,9}", chosen) else int(reading.forward.logits.argmax())
    return Answer(edit, count_removed(made), reading, before, target, reading.attribute(target))


def _expert_link(ctx: Context, expert: Expert, label: str) -> list[Any]:
    name = label or ctx.without_label
    return [
        swatch(ctx.colour(label)),
        html.A(f"{expert}", href=expert_link(*expert), **aria(label=f"expert {expert}, {name}")),
        html.Span(name, className="expert-label"),
    ]


def _labels(ctx: Context, experts: pd.DataFrame) -> dict[Expert, str]:
    """The label of every expert of a table that is specialised in one."""
    return {
        Expert(int(group), expert): label
        for group, rows in experts.groupby("group")
        for expert, label in specialised_in(ctx.run, int(group), set(rows["expert"])).items()
    }


def _score(score: float) -> str:
    return f"{score:.2f}" if score >= 0.01 else "<0.01"


def _token_table(ctx: Context, reading: PromptReading) -> html.Table:
    """One row per token, one column per group; experts that the edit removes are struck out."""
    experts = reading.top_experts()
    labels = _labels(ctx, experts)
    cells: dict[tuple[int, int], list[Any]] = {}
    for row in experts.itertuples(index=False):
        expert = Expert(int(row.group), int(row.expert))
        link = _expert_link(ctx, expert, labels.get(expert, GENERAL))
        line = [*link, html.Span(_score(row.score), className="score")]
        struck = [html.Del(part) for part in line] if row.factor == 0 else line
        cells.setdefault((row.position, row.group), []).append(html.Li(struck))
    rows = []
    for position, piece in enumerate(reading.prompt.shown):
        place = html.Th(
            [html.Span(f"{position + 1}", className="place"), html.Span(visible(piece), className="chip")], scope="row"
        )
        lists = [
            html.Td(html.Ol(cells.get((position, group), []), className="token-experts")) for group in ctx.run.groups
        ]
        rows.append(html.Tr([place, *lists], id=f"token-{position}"))
    head = html.Tr([html.Th("token", scope="col"), *(html.Th(f"group {g}", scope="col") for g in ctx.run.groups)])
    caption = html.Caption("Top experts per token, in each layer group", className="visually-hidden")
    return html.Table([caption, html.Thead(head), html.Tbody(rows)], className="prompt-table")


def _next_tokens(shown: Answer) -> html.Ul:
    """The likeliest next tokens, each a link to its attribution, with its probability without the edit."""
    likely = shown.reading.next_tokens()
    before = [None] * len(likely) if shown.before is None else shown.before.probabilities(likely["token"].tolist())
    links = []
    for row, unedited in zip(likely.itertuples(index=False), before, strict=True):
        was = [] if unedited is None else [html.Span(f"was {100 * unedited:.1f} %", className="count")]
        chosen = row.token == shown.target
        links.append(
            html.A(
                [
                    html.Span(visible(row.token_text), className="chip"),
                    html.Span(f"{100 * row.probability:.1f} %", className="count"),
                    *was,
                ],
                href=prompt_link(shown.reading.prompt.text, row.token, shown.edit.query()),
                className="legend-entry" + (" chosen" if chosen else ""),
                title="show the attribution of this token",
                **aria(current="true" if chosen else None),
            )
        )
    return html.Ul([html.Li(link) for link in links], className="legend", **aria(label="likeliest next tokens"))


def _toggle(shown: Answer, expert: Expert) -> html.A:
    """A link that removes an expert from the model, or puts it back, and runs the prompt again."""
    word = "restore" if expert in shown.edit.factors else "remove"
    edit = shown.edit.toggled(expert).query()
    return html.A(
        word,
        href=prompt_link(shown.reading.prompt.text, shown.target, edit),
        **aria(label=f"{word} expert {expert}"),
    )


def _edited(shown: Answer) -> html.Div | None:
    """The edit in force: the removed label with its number of experts, and the experts scaled one by one."""
    if not shown.edit:
        return None
    lines = []
    if shown.edit.without:
        removed = f"Without the experts specialised in {shown.edit.without}: {shown.removed:,} experts removed in all."
        lines.append(html.P(removed, className="note"))
    parts: list[Any] = []
    for expert, factor in shown.edit.factors.items():
        link = html.A(f"{expert}", href=expert_link(*expert))
        parts += ["; " if parts else "Edited: ", link, f" × {factor:g} ", _toggle(shown, expert)]
    if parts:
        lines.append(html.P(parts, className="note"))
    return html.Div(lines, id="prompt-edited")


def _contributions(ctx: Context, shown: Answer) -> html.Div:
    top, parts = shown.reading.top_contributions(shown.attribution), shown.attribution.summary()
    labels = _labels(ctx, top)
    largest = max(top["contribution"].abs().max(), parts["contribution"].abs().max())

    def line(name: Any, layers: str, contribution: float, toggle: Any = None) -> list[Any]:
        colour = RAISES if contribution > 0 else LOWERS
        return [name, layers, bar(abs(contribution) / largest, colour), f"{contribution:+.4f}", toggle]

    rows = []
    for row in top.itertuples(index=False):
        expert = Expert(int(row.group), int(row.expert))
        name = html.Span(_expert_link(ctx, expert, labels.get(expert, GENERAL)))
        rows.append(line(name, f"layer {row.layer}", row.contribution, _toggle(shown, expert)))
    rows += [
        line(html.Strong(row.component), "all layers" if row.component != "embedding" else "", row.contribution)
        for row in parts.itertuples(index=False)
    ]
    return table(["component", "where", None, "contribution", None], rows, "Contributions to the logit", numeric=3)


def answer(ctx: Context, shown: Answer) -> list[Any]:
    """The answer: tokens that link to their top experts, the next token with its attribution, and the experts."""
    prompt, attribution = shown.reading.prompt, shown.attribution
    chips = [
        html.A(visible(piece), href=f"#token-{at}", className="chip", **aria(label=f"token {at + 1}: {visible(piece)}"))
        for at, piece in enumerate(prompt.shown)
    ]
    logit = [
        fact("logit", f"{attribution.logit:.4f}"),
        fact("sum of all contributions", f"{attribution.total:.4f}"),
        fact("completeness", f"{attribution.completeness:.1e}", "difference between the two"),
    ]
    struck = " Removed experts are struck out." if shown.removed else ""
    experts = panel(
        "Top experts per token",
        html.Div(_token_table(ctx, shown.reading), className="wide"),
        note=f"The {TOP_EXPERTS} experts with the highest routing score at each token, and the label each is "
        f"specialised in.{struck}",
    )
    next_token = panel(
        "Next token, edited" if shown.edit else "Next token",
        [
            _edited(shown),
            _next_tokens(shown),
            html.H3(
                ["Direct logit attribution for ", html.Span(visible(prompt.token_text(shown.target)), className="chip")]
            ),
            facts(logit),
            _contributions(ctx, shown),
        ],
        note="How much each expert adds to the logit of the next token. Choose another token to explain it, or remove "
        "an expert to see what the model does without it.",
    )
    report = files("Report", lambda kind: text_file(prompt.text, kind))  # of the unedited model
    return [
        panel(
            f"{len(prompt.shown):,} {'token' if len(prompt.shown) == 1 else 'tokens'}",
            [
                html.Div(chips, className="chips", id="prompt-tokens"),
                None if shown.edit else html.Div(report, className="expert-nav"),
            ],
            note="· is a space, ↵ a line break, → a tab. Choose a token to see its experts.",
        ),
        html.Div([next_token, experts], className="side-and-main"),
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
        if not text or len(text) + len(edit or "") > MAX_CHARACTERS:
            return no_update, _read(ctx, Address("prompt", query={"text": text or ""} | fields))
        return prompt_search(text, edit=fields), no_update

    @app.callback(Output("prompt-answer", "children"), Input("prompt-query", "data"))
    def show(query: dict[str, str]) -> Any:
        return _read(ctx, Address("prompt", query=query)) if "text" in query else None


def _read(ctx: Context, address: Address) -> Any:
    try:
        return freeze(answer(ctx, read_answer(ctx, address)))
    except WorkbenchError as error:
        return message("The prompt was not run", str(error), "error")


PAGE = Page("prompt", PROMPT_PATH, "Prompt", layout, navigation="Prompt", register=register)
