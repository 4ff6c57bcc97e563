"""How the prompt page shows an answer: tokens, next tokens, attribution, and the top experts of every token."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...analysis.attribution.prompt import NEXT_TOKENS, TOP_EXPERTS, PromptReading
from ...report.labels import shortened
from ...report.numbers import score_text
from ...report.palette import LOWERS, RAISES
from ...report.text import specialised_in
from ...store.address import Expert
from ...store.token_text import visible, visible_label
from ..context import Context
from ..elements import Element, dmc, html
from ..links import circuit_link, compare_link, expert_link, prompt_link, text_file
from ..parts import IN_PLACE, LONGEST_NAME, aria, bar, fact, facts, files, panel, swatch, table, token_shown
from ..tables import GENERAL
from .answer import Answer


def answer(ctx: Context, shown: Answer) -> list[Any]:
    """The answer: tokens to choose from, the next token with its attribution, and the experts of every token."""
    prompt = shown.effect.reading.prompt
    tokens = len(prompt.shown)
    fields = {"text": prompt.text} | ({"chat": "1"} if prompt.chat else {}) | shown.effect.edit.query()
    report = files("Report", lambda kind: text_file(fields, kind))
    return [
        panel(
            f"{tokens:,} {'token' if tokens == 1 else 'tokens'}",
            [
                html.Div(_chips(shown), className="chips", id="prompt-tokens"),
                html.Div(_losses(shown), className="prompt-losses"),
                html.Div([report, *_comparisons(shown)], className="expert-nav"),
            ],
            note="· is a space, ↵ a line break, → a tab. Choose a token to see what the model expects after it.",
        ),
        html.Div([_next_token(ctx, shown), _experts(ctx, shown)], className="side-and-main"),
    ]


def _comparisons(shown: Answer) -> list[Element]:
    """Links to the page where the prompt stands beside another one, or its edit beside another edit."""
    text, edit = shown.effect.reading.prompt.text, shown.effect.edit.query().get("edit")
    return [
        html.A("Compare with another text", href=compare_link(kind="prompts", text=text)),
        html.A("Compare edits", href=compare_link(kind="edits", text=text, edit=edit)),
    ]


def change(was: float | None, now: float, unit: str = "", digits: int = 2) -> list[Any]:
    """A number, or how it changed: before → after, and the difference with its sign."""
    if was is None:
        return [f"{now:.{digits}f}{unit}"]
    by = round(now - was, digits) + 0.0  # what rounds to nothing has no sign
    side = "rises" if by > 0 else "falls" if by < 0 else "stays"
    return [
        f"{was:.{digits}f} → {now:.{digits}f}{unit} ",
        html.Span(f"({by:+.{digits}f})" if by else "(same)", className=f"difference {side}"),
    ]


def _chips(shown: Answer) -> list[Element]:
    chips = []
    for at, piece in enumerate(shown.effect.reading.prompt.shown, start=1):
        chosen = at == shown.at
        chips.append(
            html.A(
                token_shown(piece),
                href=prompt_link(shown.query, at=at, target=None, minus=None),
                className=f"chip {IN_PLACE}" + (" chosen" if chosen else ""),
                **aria(label=f"token {at}: {visible(piece)}", current="true" if chosen else None),
            )
        )
    return chips


def _losses(shown: Answer) -> Element | None:
    """The text's loss without and with the edit; None where it is one token that nothing precedes."""
    effect = shown.effect
    loss = effect.reading.loss()
    if loss != loss:
        return None
    was = None if effect.before is None else effect.before.loss()
    return facts([fact("loss of this text", change(was, loss, digits=3), "nats per token")])


def _next_token(ctx: Context, shown: Answer) -> Any:
    edited, end = bool(shown.effect.edit), shown.follows is None
    place = "" if end else f" after token {shown.at:,}"
    note = "How much each expert adds to the logit of a next token. Choose another token, or remove an expert."
    return panel(
        f"Next token{place}{', edited' if edited else ''}",
        [_next_tokens(shown), _target_form(shown), *_attribution(ctx, shown)],
        note=note if end else f"What the model expects once it has read the first {shown.at:,} tokens. {note}",
    )


def _next_tokens(shown: Answer) -> Element:
    """The likeliest next tokens, each a link to its attribution, with its probability without the edit."""
    rows = []
    likely = shown.next_tokens()
    edited = shown.before is not None
    for row in likely.itertuples(index=False):
        chosen = row.token == shown.target
        link = html.A(
            html.Span(token_shown(row.token_text), className="chip"),
            href=prompt_link(shown.query, target=row.token),
            className=f"next-token {IN_PLACE}" + (" chosen" if chosen else ""),
            title="show the attribution of this token",
            **aria(current="true" if chosen else None),
        )
        said = []
        if row.token == shown.follows:
            said.append("follows in the text")
        if edited and not row.listed and row.before > 0:
            said.append(f"no longer among the likeliest {NEXT_TOKENS}" if row.token != shown.follows else "")
        name = html.Span([link, html.Span(", ".join(filter(None, said)), className="count")])
        probability = change(100 * row.before if edited else None, 100 * row.probability, " %", 1)
        contrast = html.A(
            "minus",
            href=prompt_link(shown.query, target=shown.target, minus=row.token),
            className=IN_PLACE,
            title="explain why the chosen token rather than this one",
            **aria(label=f"subtract the logit of {visible(row.token_text)}"),
        )
        aside = None if chosen or row.token == shown.minus else contrast
        colour = RAISES if not edited or row.probability >= row.before else LOWERS
        rows.append([name, bar(row.probability, colour), html.Span(probability), aside])
    return html.Div(
        table(["next token", None, "probability", None], rows, "Likeliest next tokens", numeric=2), id="next-tokens"
    )


def _field_text(shown: Answer, token: int | None) -> str:
    """A token as it is typed: its text, or its id where the text cannot be typed."""
    if token is None:
        return ""
    text = shown.reading.prompt.token_text(token)
    return text if text.isprintable() and not text.startswith(("#", "‹")) else f"#{token}"


def _target_form(shown: Answer) -> Element:
    """Fields for the token to explain and the one to compare it with, by their texts."""
    target = _field_text(shown, shown.target if "target" in shown.query else None)
    return html.Div(
        [
            dmc.TextInput(id="target-text", value=target, label="Explain the token", placeholder="likeliest", w=150),
            dmc.TextInput(
                id="minus-text", value=_field_text(shown, shown.minus), label="minus", placeholder="none", w=150
            ),
            dmc.Button("Explain", id="target-run", n_clicks=0, variant="default"),
        ],
        className="prompt-fields",
    )


def _attribution(ctx: Context, shown: Answer) -> list[Any]:
    attribution, prompt = shown.attribution, shown.reading.prompt
    title: list[Any] = [
        "Direct logit attribution for ",
        html.Span(token_shown(prompt.token_text(shown.target)), className="chip"),
    ]
    if shown.minus is not None:
        drop = html.A("do not subtract", href=prompt_link(shown.query, minus=None), className=IN_PLACE)
        minus = html.Span(token_shown(prompt.token_text(shown.minus)), className="chip")
        title += [" minus ", minus, " ", html.Small(drop)]
    was = shown.logit_before()
    logit = "logit" if shown.minus is None else "difference of logits"
    numbers = [
        fact(logit, f"{attribution.logit:.4f}", None if was is None else f"{was:.4f} without the edit"),
        fact("sum of all contributions", f"{attribution.total:.4f}"),
        fact("completeness", f"{attribution.completeness:.1e}", "difference between the two"),
    ]
    kept: tuple[str, ...] = ("text", "at", "edit", "without")
    fields = {name: shown.query[name] for name in kept if name in shown.query}
    trace = html.A("Trace the circuit", href=circuit_link(fields, target=shown.target, minus=shown.minus))
    deeper = html.P([trace, " behind it: what made these experts write this, token by token."], className="note")
    return [html.H3(title), facts(numbers), deeper, _contributions(ctx, shown)]


def _contributions(ctx: Context, shown: Answer) -> Element:
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


def _toggle(shown: Answer, expert: Expert) -> Element:
    """A link that removes an expert from the model, or puts it back, and runs the prompt again."""
    word = "restore" if expert in shown.effect.edit.factors else "remove"
    edit = shown.effect.edit.toggled(expert).query()
    return html.A(
        word,
        href=prompt_link(shown.query, edit=edit.get("edit"), without=None, target=shown.target, minus=shown.minus),
        className=IN_PLACE,
        **aria(label=f"{word} expert {expert}"),
    )


def _expert_link(ctx: Context, expert: Expert, label: str) -> list[Any]:
    name = shortened(visible_label(label), LONGEST_NAME) or ctx.kind(*expert)
    return [
        swatch(ctx.colour(label)),
        html.A(f"{expert}", href=expert_link(*expert), **aria(label=f"expert {expert}, {name}")),
        html.Span(name, className="expert-label"),
    ]


def expert_links(ctx: Context, experts: pd.DataFrame) -> list[Any]:
    """Links to the experts of a table with columns group and expert, each with its label."""
    labels = _labels(ctx, experts)
    listed = [Expert(int(group), int(expert)) for group, expert in experts[["group", "expert"]].itertuples(index=False)]
    return [html.Span(_expert_link(ctx, expert, labels.get(expert, GENERAL))) for expert in listed]


def _labels(ctx: Context, experts: pd.DataFrame) -> dict[Expert, str]:
    """The label of every expert of a table that is specialised in one."""
    return {
        Expert(int(group), expert): label
        for group, rows in experts.groupby("group")
        for expert, label in specialised_in(ctx.run, int(group), set(rows["expert"])).items()
    }


def _experts(ctx: Context, shown: Answer) -> Any:
    struck = " Removed experts are struck out." if shown.effect.removed else ""
    return panel(
        "Top experts per token",
        html.Div(_token_table(ctx, shown.effect.reading, shown.at), className="wide"),
        note=f"The {TOP_EXPERTS} experts with the highest routing score at each token, and the label each is "
        f"specialised in.{struck}",
    )


def _token_table(ctx: Context, reading: PromptReading, chosen: int) -> Element:
    """One row per token, one column per group; experts that the edit removes are struck out."""
    experts = reading.top_experts()
    labels = _labels(ctx, experts)
    cells: dict[tuple[int, int], list[Any]] = {}
    for row in experts.itertuples(index=False):
        expert = Expert(int(row.group), int(row.expert))
        link = _expert_link(ctx, expert, labels.get(expert, GENERAL))
        line = [*link, html.Span(score_text(row.score), className="score")]
        struck = [html.Del(part) for part in line] if row.factor == 0 else line
        cells.setdefault((row.position, row.group), []).append(html.Li(struck))
    rows = []
    for position, piece in enumerate(reading.prompt.shown):
        place = html.Th(
            [html.Span(f"{position + 1}", className="place"), html.Span(token_shown(piece), className="chip")],
            scope="row",
        )
        lists = [
            html.Td(html.Ol(cells.get((position, group), []), className="token-experts")) for group in ctx.run.groups
        ]
        here = "chosen" if position + 1 == chosen else ""
        rows.append(html.Tr([place, *lists], id=f"token-{position}", className=here))
    head = html.Tr([html.Th("token", scope="col"), *(html.Th(f"group {g}", scope="col") for g in ctx.run.groups)])
    caption = html.Caption("Top experts per token, in each layer group", className="visually-hidden")
    return html.Table([caption, html.Thead(head), html.Tbody(rows)], className="prompt-table")
