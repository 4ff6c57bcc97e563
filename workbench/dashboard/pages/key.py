"""One key of a set: how much its experts are used, on which labels and tokens it fires, and all its experts."""

from __future__ import annotations

from typing import Any

from ...errors import BadInputError
from ...report.numbers import score_text
from ..atlas.keys import Key, key_experts, key_labels, key_tokens, main_label
from ..atlas.listing import expert_rows, label_counts
from ..context import Context
from ..elements import Element, html
from ..failures import message_or
from ..gather import GATHER, gather_bar
from ..links import KEY_PATH, Address, atlas_link, key_link, label_link
from ..listed import ROWS, page_links, shown_page
from ..page import Page
from ..parts import bar, fact, facts, group_links, label_mark, panel, table, term, token_shown
from ..running import unanalysed

TOKENS = 20
LISTED_LABELS = 20  # those of highest rate; a corpus may have hundreds


def read_key(ctx: Context, address: Address) -> Key:
    """The key that the path names.

    Raises:
        BadInputError: it has no numbers.
        NotFoundError: the run has no such group or key.
    """
    if not all(part.isdecimal() and len(part) < 10 for part in address.parts):
        raise BadInputError("a key is written /keys/group/set/key in numbers, such as /keys/0/1/17.")
    return Key.checked(ctx.run, *map(int, address.parts))


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?page=2`` lists further experts.

    Raises:
        BadInputError, NotFoundError: as ``read_key``.
    """
    key = read_key(ctx, address)
    experts = key_experts(ctx, key)
    return [
        html.H1(f"Key {key.number} of set {key.set}, group {key.group}"),
        None if ctx.analysed else unanalysed(ctx),
        _links(ctx, key),
        _facts(ctx, key),
        *message_or(_fires, ctx, key),
        panel(
            f"Its {len(experts):,} active experts",
            _experts(ctx, key, experts, address),
            note=[f"Of {ctx.run.num_keys:,}; largest ", term("mass"), " first."],
        ),
    ]


def _links(ctx: Context, key: Key) -> Element:
    last = ctx.run.num_keys - 1
    beside = [
        html.A(f"{name} key", href=key_link(key.group, key.set, key.number + step), className="button")
        for name, step in (("Previous", -1), ("Next", 1))
        if 0 <= key.number + step <= last
    ]
    rows, columns = (f"{key.number}-{key.number}", f"0-{last}")[:: 1 if key.set == 1 else -1]
    shown = atlas_link(key.group, select=f"{key.group}:{rows},{columns}")
    return html.Div(
        [
            group_links(ctx, key.group, lambda group: key_link(group, key.set, key.number)),
            *beside,
            html.A("Show in the atlas", href=shown, className="button"),
        ],
        className="bar-of-links",
    )


def _facts(ctx: Context, key: Key) -> Element:
    table = ctx.experts(key.group)
    own = table.loc[key_experts(ctx, key)]
    share = own["mass"].sum() / (table["mass"].sum() or 1.0)
    items = [
        fact(term("mass"), score_text(float(own["mass"].sum())), f"{100 * share:.2f} % of the group's"),
        fact("active experts", f"{len(own):,}", f"of {ctx.run.num_keys:,}"),
    ]
    if ctx.tested:
        items.append(fact(term("confirmed"), f"{int(own['confirmed'].sum()):,}"))
    main = main_label(ctx, key)
    if main is not None:
        items.append(
            fact(
                "main label",
                html.A(label_mark(main.label, ctx.colour(main.label)), href=label_link(main.label, key.group)),
                f"{100 * main.share:.1f} % of its experts have it, {100 * main.base:.1f} % of the group's",
            )
        )
    return facts(items)


def _fires(ctx: Context, key: Key) -> Element:
    activations = ctx.run.key_activations(*key)
    uses = key_labels(ctx, activations)
    labels = [
        [
            html.A(label_mark(row.label, ctx.colour(row.label)), href=label_link(row.label, key.group)),
            f"{row.tokens:,}",
            score_text(row.rate),
            f"{100 * row.share:.1f} %",
            bar(row.share, ctx.colour(row.label)),
        ]
        for row in uses.head(LISTED_LABELS).itertuples(index=False)
    ]
    tokens = [
        [
            html.Span(token_shown(row.text), className="chip"),
            f"{row.count:,}",
            score_text(row.weight),
            f"{row.mean:.3f}",
        ]
        for row in key_tokens(ctx, activations, TOKENS).itertuples(index=False)
    ]
    rest = uses.iloc[LISTED_LABELS:]
    left_out = f" The other {len(rest):,} labels have {100 * rest['share'].sum():.1f} % together." if len(rest) else ""
    by_label = panel(
        "Labels it fires on",
        table(["label", "active tokens", term("rate"), term("share"), None], labels, "Labels it fires on"),
        note=["Rate: its routing probability per token of the label, summed over heads.", left_out],
    )
    by_token = panel(
        "Tokens it fires on",
        table(["token", "times", "sum of probabilities", "mean"], tokens, "Tokens it fires on"),
        note=f"The {len(tokens)} tokens with the largest sum of its routing probabilities.",
    )
    return html.Div([by_label, by_token], className="related")


def _experts(ctx: Context, key: Key, experts: list[int], address: Address) -> list[Any]:
    if not experts:
        return [html.P("None of its experts is active on this corpus.", className="note")]
    page = shown_page(address.query.get("page", "1"), len(experts))
    first = ROWS * (page - 1)
    return [
        label_counts(ctx, key.group, experts),
        html.Div(expert_rows(ctx, key.group, experts[first : first + ROWS], first), className="key-experts"),
        gather_bar(GATHER),
        page_links(page, len(experts), lambda at: key_link(*key, page=at)),
    ]


def _title(ctx: Context, address: Address) -> str:
    key = read_key(ctx, address)
    return f"Key {key.number} of set {key.set}, group {key.group}"


PAGE = Page("key", KEY_PATH, _title, layout)
